package normalize

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/tollbridge/tollbridge/schemas"
)

// ipay88 reads a form about one payment. RefNo, Status and Amount are signed, and are
// the identity. The points and commas of the amount are not signed, so an amount is
// read only in the documented form: two decimals, and a comma before each group of
// three digits or no comma.
//
// https://fliphtml5.com/hmseu/oxni
var ipay88 = Connector{
	Docs:      "https://fliphtml5.com/hmseu/oxni",
	Key:       "RefNo",
	Tellers:   sentToURL(tellersOf(ipay88Types)),
	Captures:  CountsOnce, // the response comes once, after the payment
	normalize: ipay88Normalize,
}

// ipay88Types maps a status to the event type.
var ipay88Types = map[string]schemas.Type{
	"1": schemas.PaymentCaptured,
	"0": schemas.PaymentFailed,
	"6": schemas.PaymentProcessing,
}

// ipay88Amount is the documented form of an amount: 1,234.50 or 1234.50.
var ipay88Amount = regexp.MustCompile(`\A([0-9]+|[0-9]{1,3}(,[0-9]{3})+)\.[0-9]{2}\z`)

func ipay88Normalize(payload []byte, _ Options) ([]fact, error) {
	p, err := decodeForm(payload)
	if err != nil {
		return nil, err
	}
	status := p["Status"]
	var f fact
	f.Type = ipay88Types[status]
	switch {
	case f.Type == "" && status != "":
		return []fact{unknownStatus(status, "the status", status)}, nil
	case p["RefNo"] == "" || status == "":
		return nil, fmt.Errorf("%w: no RefNo or no Status: not a payment of iPay88's", ErrMalformed)
	}
	if !ipay88Amount.MatchString(p["Amount"]) {
		return oneMalformed(status, fmt.Errorf("%w: the amount %q is not of the form 1,234.50", ErrMalformed, p["Amount"]))
	}
	f.Identity = p["RefNo"] + "/" + status + "/" + p["Amount"]
	f.Account, f.ConnectorEventType = p["MerchantCode"], status
	f.MerchantTransactionID, f.ConnectorTransactionID, f.UnsignedIDs = p["RefNo"], p["TransId"], true
	if f.Amount, err = major(strings.ReplaceAll(p["Amount"], ",", ""), p["Currency"]); err != nil {
		return oneMalformed(status, err)
	}
	f.setAmountByType()
	if f.Type == schemas.PaymentFailed {
		f.Error = failure("", p["ErrDesc"], "")
	}
	return []fact{f}, nil
}
