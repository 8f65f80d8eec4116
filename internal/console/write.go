package console

import (
	"context"
	"crypto/subtle"
	"net/http"

	"github.com/tollbridge/tollbridge/webhook"
)

// tokenHeader is the header in which a client that asks for JSON gets the token of its
// forms, and can send it.
const tokenHeader = "X-Csrf-Token"

// maxForm is the most bytes of a form.
const maxForm = 1 << 20

// post returns the handler of a form. It answers 403 if the configuration does not give
// the right, or if the form does not have the token of the user's pages. right is the key of the
// configuration that gives the right.
func (h *Handler) post(allowed bool, right string, of http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !allowed {
			h.show(w, r, view{}, problem{http.StatusForbidden, "The console does not allow this.", "It needs " + right + ": true in the configuration, and a restart. The commands of tollbridge can do it, too."})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			h.show(w, r, view{}, problem{http.StatusBadRequest, "The form could not be read: " + err.Error() + ".", "Reload the page and try again."})
			return
		}
		token := r.PostForm.Get("token")
		if token == "" {
			token = r.Header.Get(tokenHeader)
		}
		if subtle.ConstantTimeCompare([]byte(token), []byte(h.access.token(userOf(r)))) != 1 {
			h.show(w, r, view{}, problem{http.StatusForbidden, "The form is not from a page of your session.", "Open the page again and send the form from there. Nothing was changed."})
			return
		}
		of(w, r)
	}
}

// canWrite reports whether people may change something.
func (h *Handler) canWrite() bool { return h.Write && h.Open != nil }

// unmaskedKey marks the context of a request whose page shows personal fields.
type unmaskedKey struct{}

// maxUnmaskURI is the most bytes of the path and query of a page that is shown unmasked.
const maxUnmaskURI = 1000

// unmask returns the handler that shows a page of a webhook with its personal fields, and
// logs who sees it.
func (h *Handler) unmask(of func(*http.Request) (view, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if len(r.URL.RequestURI()) > maxUnmaskURI { // the log has all of it
			h.show(w, r, view{}, problem{http.StatusBadRequest, "The address is too long.", "Follow a link of the console."})
			return
		}
		line := h.audit(r, userOf(r), "unmask").Str("what", r.URL.RequestURI())
		if k := h.refusedRequest(r); k != nil { // the number says nothing after a restart
			line = line.Str("connector", k.Connector).Str("endpoint", k.Endpoint).Time("received_at", k.ReceivedAt)
		}
		line.Msg("somebody saw a webhook with its personal fields")
		h.page(of)(w, r.WithContext(context.WithValue(r.Context(), unmaskedKey{}, true)))
	}
}

// masker returns the masker for the page of a request.
func (h *Handler) masker(r *http.Request, endpoints []webhook.Endpoint) masker {
	m := newMasker(endpoints)
	m.personal, _ = r.Context().Value(unmaskedKey{}).(bool)
	return m
}

// action is the data of a form that changes something.
type action struct {
	Token   string
	Allowed bool // the configuration gives the right
}

// action returns the data of a form on a page of a request.
func (h *Handler) action(r *http.Request, allowed bool) action {
	return action{h.access.token(userOf(r)), allowed}
}
