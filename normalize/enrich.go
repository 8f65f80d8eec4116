package normalize

import (
	"bytes"
	"fmt"

	"github.com/tollbridge/tollbridge/schemas"
)

// The functions in this file add what the processor's API says of a payment to the
// events of webhooks that lack it. The webhook alone says what happened and when: the
// type, the identity and the time of a fact never come from a fetched document, because
// the object may have changed since. Nor does a document replace what the webhook says.
//
// The connectors' functions return at once if nothing was fetched, which is so for most
// webhooks, before they allocate what they read a document into.

// document reads the document of that name, KIND/ID, into v. It reports whether there is
// one. Its errors are those of [decode].
func (o Options) document(name string, v any) (ok bool, err error) {
	body, ok := o.fetched(name)
	if !ok {
		return false, nil
	}
	if err := decodeDocument(body, v); err != nil {
		return false, fmt.Errorf("the fetched %s: %w", name, err)
	}
	return true, nil
}

// decodeDocument is [decode] for a fetched document, which is never empty.
func decodeDocument(body []byte, v any) error {
	if len(bytes.TrimSpace(withoutByteOrderMark(body))) == 0 {
		return fmt.Errorf("%w: it is empty", ErrMalformed)
	}
	return decode(body, v)
}

// fillAmount sets the amount unless the webhook has one, and then also that of the step
// which the event is about.
func (f *fact) fillAmount(a *schemas.Amount) {
	if f.Amount != nil || a == nil {
		return
	}
	f.Amount = a
	switch {
	case f.Type == schemas.PaymentAuthorized && f.AuthorizedAmount == nil:
		f.AuthorizedAmount = a
	case f.Type == schemas.PaymentCaptured && f.CapturedAmount == nil:
		f.CapturedAmount = a
	}
}

// fillMethod sets the payment method unless the webhook has one. Payouts have none.
func (f *fact) fillMethod(m *schemas.PaymentMethod) {
	if f.PaymentMethod == nil && f.Type.Family() != "payout" {
		f.PaymentMethod = m
	}
}

// fill sets text unless the webhook has it.
func fill[T ~string](text *string, from T) {
	if *text == "" {
		*text = string(from)
	}
}
