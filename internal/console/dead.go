package console

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tollbridge/tollbridge/internal/dead"
	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/webhook"
)

// deadPage is the data of the page of dead letters.
type deadPage struct {
	All     bool // also those that were handled
	Groups  []letterGroup
	Letters []*dead.Letter // of this page
	Pages   pages
	Action  action
}

// letterGroup counts the letters that were not handled and have one kind of reason.
type letterGroup struct {
	Endpoint, Reason string
	Count            int
}

// ID identifies a group in a form: its texts can have characters that a browser changes.
func (g letterGroup) ID() string {
	sum := sha256.Sum256([]byte(g.Endpoint + "\x00" + g.Reason))
	return hex.EncodeToString(sum[:8])
}

// groupOf returns the group of a letter, without its count. Its reason is masked.
func (m masker) groupOf(w *webhook.Archived) letterGroup {
	return letterGroup{Endpoint: w.Connector + "/" + w.Endpoint, Reason: dead.ReasonKind(m.text(w.Reason))}
}

// letters waits until a page may read whole topics, and lists dead letters. Without an
// error, the caller must call done when it needs them no more.
func (h *Handler) letters(ctx context.Context, f dead.Filter) (names kafka.Names, all []*dead.Letter, done func(), err error) {
	if names, err = h.Names(); err != nil {
		return names, nil, nil, notReady(err)
	}
	if done, err = h.scan(ctx); err != nil {
		return names, nil, nil, err
	}
	if all, err = dead.List(ctx, h.Reader, names, f, nil); err != nil {
		done()
	}
	return names, all, done, err
}

// dead lists the dead letters.
func (h *Handler) dead(r *http.Request) (view, error) {
	v := view{template: "dead", Here: "dead", Title: "Dead letters"}
	f := dead.Filter{Handled: r.URL.Query().Get("all") == "1", Connector: r.URL.Query().Get("connector")}
	_, all, done, err := h.letters(r.Context(), f)
	if err != nil {
		return v, err
	}
	defer done()
	m := newMasker(h.Endpoints())
	groups := map[letterGroup]int{}
	for _, l := range all {
		if l.Handled == nil {
			groups[m.groupOf(l.Webhook)]++
		}
	}
	data := deadPage{All: f.Handled, Pages: newPages(r, len(all)), Action: h.action(r, h.canWrite())}
	for g, n := range groups {
		g.Count = n
		data.Groups = append(data.Groups, g)
	}
	slices.SortFunc(data.Groups, func(a, b letterGroup) int {
		return cmp.Or(b.Count-a.Count, cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Reason, b.Reason))
	})
	newest := slices.Clone(all)
	slices.Reverse(newest)
	data.Letters = newest[data.Pages.from:data.Pages.to]
	shown := data.Letters // masking all would take longer than reading them
	if wantsJSON(r) {
		shown = all
	}
	for _, l := range shown {
		l.Webhook = m.webhook(l.Webhook)
	}
	v.Data, v.JSON = data, all
	return v, nil
}

// letterPage is the data of the page of one dead letter.
type letterPage struct {
	*dead.Letter
	Today  today
	Pretty string // the masked body, indented
	Action action
}

// letter shows one dead letter, and what the connector stumbles over today.
func (h *Handler) letter(r *http.Request) (view, error) {
	v := view{template: "letter", Here: "dead", Title: "Dead letter"}
	id := strings.TrimSpace(r.URL.Query().Get("id"))
	names, all, done, err := h.letters(r.Context(), dead.Filter{Handled: true})
	if err != nil {
		return v, err
	}
	defer done()
	var with *webhook.Archived // the letter's, with its bodies
	n := slices.IndexFunc(all, func(l *dead.Letter) bool { return l.ID == id })
	if n >= 0 {
		loaded, err := dead.Load(r.Context(), h.Reader, names, all[n])
		if err != nil {
			return v, err
		}
		with = loaded[all[n]]
	}
	if with == nil {
		return v, problem{http.StatusNotFound, fmt.Sprintf("There is no dead letter %q.", display.Cut(id, 100)), "The page Dead letters lists all of them. Kafka keeps them for kafka.retention."}
	}
	endpoints := h.Endpoints()
	l := *all[n]
	l.Webhook = newMasker(endpoints).webhook(with)
	data := letterPage{Letter: &l, Today: h.judge(r, endpoints, *with), Action: h.action(r, h.canWrite())}
	data.Pretty, _ = limited(pretty(l.Webhook.Body))
	v.Title, v.Data = "Dead letter "+l.ID, data
	v.JSON = struct {
		*dead.Letter
		Body []byte `json:"body"` // masked
	}{&l, l.Webhook.Body}
	return v, nil
}

// handleLetters retries or discards dead letters: those with the ids of the form, or those
// of a group that were not handled.
func (h *Handler) handleLetters(w http.ResponseWriter, r *http.Request) {
	ids, group := r.PostForm["id"], r.PostForm.Get("group")
	shown, countErr := strconv.Atoi(r.PostForm.Get("count"))
	note := display.Cut(strings.TrimSpace(r.PostForm.Get("note")), maxNote)
	j := &job{Kind: map[string]string{"retry": jobRetry, "discard": jobDiscard}[r.PostForm.Get("action")]}
	var wrong problem
	switch {
	case j.Kind == "":
		wrong = problem{http.StatusBadRequest, "The form says neither retry nor discard.", "Open the page Dead letters and send the form from there."}
	case len(ids) == 0 && group == "":
		wrong = problem{http.StatusBadRequest, "No letter was chosen.", "Choose letters in the list, or a group."}
	case len(ids) == 0 && countErr != nil:
		wrong = problem{http.StatusBadRequest, "The form does not say how many letters of the group the page showed.", "Open the page Dead letters and send the form from there; a program sends the number as the field count."}
	case j.Kind == jobDiscard && note == "":
		wrong = problem{http.StatusBadRequest, "A discard needs a note that says why.", "Go back and write one. It is kept with the letter."}
	}
	if wrong.status != 0 {
		h.show(w, r, view{Here: "dead"}, wrong)
		return
	}
	audit := func() {
		h.audit(r, userOf(r), j.Kind).Str("job", j.ID).Strs("letters", ids[:min(len(ids), 20)]).Str("group", display.Cut(group, 40)).Str("note", note).
			Msg("somebody handles dead letters in the console")
	}
	err := h.start(r, j, audit, func(ctx context.Context, j *job) error { return h.runLetters(ctx, j, ids, group, shown, note) })
	if err != nil {
		h.show(w, r, view{Here: "dead"}, err)
		return
	}
	h.redirect(w, r, jobURL(j.ID))
}

// maxNote is how many characters of a note are kept.
const maxNote = 500

// maxVerdicts is how many letters a job lists; the others are counted.
const maxVerdicts = 1000

// by returns who handles letters, as their records have it.
func (h *Handler) by(u user) string {
	if u.Login == byLoopback {
		return h.Process + " (console)"
	}
	return u.Name + " (console)"
}

// runLetters does the job of [Handler.handleLetters], as the commands do. Of a group, it
// handles no letters if there are more than the page showed.
func (h *Handler) runLetters(ctx context.Context, j *job, ids []string, group string, shown int, note string) error {
	h.jobs.update(func() { j.Stage = "waiting for the lock on the topics" })
	return h.Open(ctx, Opening{Command: j.Kind, Publish: true}, func(ctx context.Context, s Session) error {
		h.jobs.update(func() { j.Stage = "reading the dead letters" })
		// A letter that the user names is retried even if it was discarded.
		all, err := dead.List(ctx, s.Reader, s.Names, dead.Filter{IDs: ids, Handled: len(ids) > 0 && j.Kind == jobRetry}, nil)
		if err != nil {
			return err
		}
		endpoints := h.Endpoints()
		m := newMasker(endpoints)
		if len(ids) == 0 {
			all = slices.DeleteFunc(all, func(l *dead.Letter) bool { return m.groupOf(l.Webhook).ID() != group })
			if len(all) > shown {
				return fmt.Errorf("%s have this reason now, and the page showed %d: open it again", count(len(all), "letter"), shown)
			}
		}
		h.jobs.update(func() { j.Letters, j.All = len(all), int64(len(all)) })
		u, _ := ctx.Value(userKey{}).(user)
		d := dead.Handler{Reader: s.Reader, Names: s.Names, Endpoints: endpoints, Publisher: s.Publisher, By: h.by(u), Note: note}
		each := func(v dead.Verdict) error {
			h.jobs.update(func() {
				if j.Done++; !v.Resolved() {
					j.Stay++
				}
				if len(j.Verdicts) < maxVerdicts {
					j.Verdicts = append(j.Verdicts, m.verdict(v))
				}
			})
			return nil
		}
		if j.Kind == jobDiscard {
			h.jobs.update(func() { j.Stage = "marking the letters" })
			if err := d.Discard(ctx, all); err != nil {
				return err
			}
			for _, l := range all {
				_ = each(dead.Verdict{Letter: l}) // never fails
			}
			return nil
		}
		if len(all) == 0 {
			return nil
		}
		h.jobs.update(func() { j.Stage = "reading what is published" })
		if d.History, err = s.History(ctx); err != nil {
			return err
		}
		h.jobs.update(func() { j.Stage = "publishing" })
		return d.Retry(ctx, all, each)
	})
}

// verdict returns a copy of a verdict that is small and masked.
func (m masker) verdict(v dead.Verdict) dead.Verdict {
	l := *v.Letter
	w := m.webhook(&webhook.Archived{
		Connector: l.Webhook.Connector, Endpoint: l.Webhook.Endpoint, Reason: l.Webhook.Reason, ReceivedAt: l.Webhook.ReceivedAt, Outcome: l.Webhook.Outcome,
	})
	l.Webhook = w
	return dead.Verdict{Letter: &l, New: v.New, Known: v.Known, Unresolved: m.text(v.Unresolved)}
}

// letterResult is what a job made of a letter.
type letterResult struct {
	ID, Endpoint, State, Tone, Says string
}

// newLetterResult returns the verdict of a letter as a row of the page of the job.
func newLetterResult(v dead.Verdict) letterResult {
	r := letterResult{ID: v.ID, Endpoint: v.Webhook.Connector + "/" + v.Webhook.Endpoint}
	switch n := len(v.New) + len(v.Known); {
	case !v.Resolved():
		r.State, r.Tone, r.Says = "stays", "bad", v.Unresolved
	case v.Handled != nil:
		r.State, r.Tone = string(v.Handled.Outcome), "good"
		if v.Handled.Outcome == dead.Retried {
			r.Says = fmt.Sprintf("%s, %d of them new", count(n, "event"), len(v.New))
		}
	}
	return r
}
