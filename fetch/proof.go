package fetch

import (
	"fmt"
	"math/big"
	"regexp"
)

// checkProof returns an error that wraps [ErrAccount] unless the answer has the same text
// in the fields as the webhook, whose fields no signature covers. A field that the webhook
// does not have claims nothing.
func checkProof(webhook, answer object, fields ...string) error {
	for _, field := range fields {
		if claimed := webhook.text(field); claimed != "" && answer.text(field) != claimed {
			return fmt.Errorf("%w: the webhook claims the %s %q, and the API has %q", ErrAccount, field, claimed, answer.text(field))
		}
	}
	return nil
}

// checkAmount returns an error that wraps [ErrAccount] unless the answer has the amount
// that the webhook claims: 150 and 150.00 are the same.
func checkAmount(field, got, claimed string) error {
	if claimed == "" || got == claimed {
		return nil
	}
	a, b := decimal(got), decimal(claimed)
	if a == nil || b == nil || a.Cmp(b) != 0 {
		return fmt.Errorf("%w: the webhook claims the %s %q, and the API has %q", ErrAccount, field, claimed, got)
	}
	return nil
}

// decimalText is a decimal number without an exponent, which could have any size.
var decimalText = regexp.MustCompile(`^[0-9]{1,18}(\.[0-9]{1,9})?$`)

// decimal returns the number, or nil if the text is none.
func decimal(text string) *big.Rat {
	if !decimalText.MatchString(text) {
		return nil
	}
	n, _ := new(big.Rat).SetString(text)
	return n
}
