package webhook_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/verify"
)

// TestAdyenEventCodes: package verify refuses a ":" in the fields of exactly the
// eventCodes that package normalize makes events of. If only normalize knew an
// eventCode, its webhooks could be forged. If only verify knew it, webhooks with a ":"
// in free text would be refused.
func TestAdyenEventCodes(t *testing.T) {
	keys, private, _ := sign.Dev("adyen")
	now := time.Unix(1767262535, 0)
	verified := func(code string, settings map[string]string) error {
		payload := fmt.Appendf(nil, `{"notificationItems":[{"NotificationRequestItem":{"pspReference":"a:b","merchantAccountCode":"ShopEU",`+
			`"merchantReference":"o","eventCode":%q,"success":"true","amount":{"value":1,"currency":"EUR"}}}]}`, code)
		r, err := sign.Request("adyen", payload, private, nil, "", now)
		if err != nil {
			t.Fatal(err)
		}
		_, err = verify.Verify("adyen", r, verify.Keys{Secrets: keys.Secrets, Settings: settings}, now)
		return err
	}
	adyen, _ := normalize.Lookup("adyen")
	known := map[string]bool{}
	for _, teller := range adyen.Tellers {
		known[teller.Event] = true
		if err := verified(teller.Event, nil); !errors.Is(err, verify.ErrField) {
			t.Errorf("%s becomes events; with a separator in pspReference: %v, want field_malformed", teller.Event, err)
		}
	}
	for _, code := range []string{"REPORT_AVAILABLE", "ORDER_OPENED", "ORDER_CLOSED", "AUTORESCUE", "DONATION", "SOMETHING_NEW"} {
		if known[code] {
			continue
		}
		if err := verified(code, map[string]string{"merchant_accounts": `["Another"]`}); err != nil {
			t.Errorf("%s becomes no event, and is refused: %v", code, err)
		}
	}
}
