package ingest

import (
	"errors"
	"net/http"

	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/verify"
)

// log writes the one log line of a delivery. The line has no secret and no part of a
// body. For a webhook that is not verified it has only the address that the webhook was
// sent to. For a verified webhook it has the event type, the event ids and their
// receipts.
func (d *delivery) log(r *http.Request, status int, reason string) {
	line := d.s.Log.Info()
	if status >= http.StatusInternalServerError {
		line = d.s.Log.Error()
	} else if d.err != nil || d.verdict.Has(normalize.OutcomeMalformed) {
		line = d.s.Log.Warn()
	}
	line.Str("method", shorten(r.Method)).Str("path", shorten(r.URL.Path)).Int("status", status).
		Dur("took_ms", d.s.Now().Sub(d.start)).Int("bytes", d.bytes).Str("remote", r.RemoteAddr).
		Str("trace", d.trace)
	if d.span != nil { // the names that OpenTelemetry gives these fields
		at := d.span.SpanContext()
		line.Stringer("trace_id", at.TraceID()).Stringer("span_id", at.SpanID()).Stringer("trace_flags", at.TraceFlags())
	}
	if d.from.IsValid() && d.from != peer(r.RemoteAddr) {
		line.Stringer("client", d.from) // as a trusted proxy says
	}
	if d.endpoint != nil {
		line.Str("connector", d.endpoint.Connector).Str("endpoint", d.endpoint.NameOrDefault())
	}
	if d.err != nil {
		line.Str("reason", reason)
		if loggable(d.err) {
			line.Str("error", d.err.Error())
		}
	} else {
		line.Str("outcome", string(d.verdict.Outcome())).Str("secret", d.verdict.Secret)
		logKept(line, d.verdict.Skipped)
	}
	if d.duplicates > 0 {
		line.Int("duplicates", d.duplicates)
	}
	if d.corrections > 0 {
		line.Int("corrections", d.corrections)
	}
	if len(d.entries) > 0 {
		line.Array("ids", (*loggedIDs)(&d.entries)).Array("receipts", (*loggedReceipts)(&d.entries))
	}
	line.Msg("webhook")
}

// loggedIDs writes the ids of entries as a JSON array.
type loggedIDs []entry

func (all *loggedIDs) MarshalZerologArray(a *zerolog.Array) {
	for i := range *all {
		a.Str((*all)[i].id)
	}
}

// loggedReceipts writes the receipts of entries as a JSON array.
type loggedReceipts []entry

func (all *loggedReceipts) MarshalZerologArray(a *zerolog.Array) {
	for i := range *all {
		r := &(*all)[i].receipt
		a.Dict(zerolog.Dict().Str("topic", r.Topic).Int("partition", r.Partition).Int64("offset", r.Offset))
	}
}

// loggable reports whether an error's text contains nothing of the request. The text of
// [verify.ErrMalformed] quotes what could not be read, which may be a card number;
// `tollbridge inspect` shows it to users who have the request.
func loggable(err error) bool { return !errors.Is(err, verify.ErrMalformed) }

// logKept adds to a log line the number of items that gave no event, and the reason of
// the first ignored one. The reasons of malformed items are left out, because they
// quote the items; webhooks.dead has them.
func logKept(line *zerolog.Event, kept []normalize.Skipped) {
	if len(kept) == 0 {
		return
	}
	count := map[normalize.Outcome]int{}
	for _, k := range kept {
		if count[k.Outcome]++; count[k.Outcome] == 1 && k.Outcome == normalize.OutcomeIgnored {
			line.Str("why", shorten(k.Reason))
		}
	}
	for _, o := range []normalize.Outcome{normalize.OutcomeIgnored, normalize.OutcomeMalformed} {
		if n := count[o]; n > 0 {
			line.Int("items_"+string(o), n)
		}
	}
}

// shorten cuts text that comes from a request to a length that suits a log line.
func shorten(s string) string { return display.Cut(s, 200) }
