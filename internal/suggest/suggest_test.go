package suggest_test

import (
	"testing"

	"github.com/tollbridge/tollbridge/internal/suggest"
)

// TestClosest: the choice with the least edit distance is found, however much of its
// beginning differs, and nothing for a name that is far from all of them.
func TestClosest(t *testing.T) {
	choices := []string{"stripe", "square", "skrill", "adyen", "payu-india", "paypal", "paystack", "payment.captured", "payment.capture_failed"}
	for name, want := range map[string]string{
		"strpe": "stripe", "Stripe": "stripe", "tripe": "stripe", "xtripe": "stripe", "sqare": "square", "aydem": "", "ayden": "adyen", "adyne": "adyen",
		"adyn": "adyen", "paypall": "paypal", "payu": "payu-india", "pay": "", "payment.captrued": "payment.captured", "paymnt.capture_failed": "payment.capture_failed",
		"": "", "nonsense": "", "x": "",
	} {
		if got := suggest.Closest(name, choices); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
	if got, want := suggest.Text("strpe", choices, "see the list"), `is it "stripe"? see the list`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := suggest.Text("nonsense", choices, "see the list"), "see the list"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
