package normalize

import (
	"fmt"
	"testing"

	"github.com/tollbridge/tollbridge/schemas"
)

// TestMidtransPayAccount: linking a GoPay account activates a mandate, and unlinking it
// revokes the mandate.
func TestMidtransPayAccount(t *testing.T) {
	for status, want := range map[string]schemas.Type{
		"ENABLED": schemas.MandateActive, "DISABLED": schemas.MandateRevoked, "EXPIRED": schemas.MandateFailed, "PENDING": "", "NEW": "",
	} {
		body := fmt.Appendf(nil, `{"account_id":"7c1d5b5e-0000-4000-8000-70110000a001","payment_type":"gopay","status_code":"200","account_status":%q}`, status)
		r, err := Normalize("midtrans", body, Options{ReceivedAt: received})
		switch {
		case err != nil:
			t.Error(err)
		case want == "" && r.Outcome() != OutcomeIgnored:
			t.Errorf("%s: %+v, want ignored", status, r)
		case want != "" && (len(r.Events) != 1 || r.Events[0].Type != want || r.Events[0].Data.ConnectorMandateID != "7c1d5b5e-0000-4000-8000-70110000a001"):
			t.Errorf("%s: %+v, want %s", status, r, want)
		}
	}
	const beside = `{"order_id":"order-1","gross_amount":"10000.00","account_id":"7c1d5b5e-0000-4000-8000-70110000a001","status_code":"200","account_status":"ENABLED"}`
	if r, err := Normalize("midtrans", []byte(beside), Options{ReceivedAt: received}); err != nil || r.Outcome() != OutcomeMalformed {
		t.Errorf("a pay account with an order_id, whose signature would be a transaction's: %+v, %v, want malformed", r, err)
	}
}
