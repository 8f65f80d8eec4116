package schemas_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/tollbridge/tollbridge/schemas"
)

// TestIDNeverChanges: with changed ids every consumer would process every event
// once more. If this test fails, the code is wrong, not the test.
func TestIDNeverChanges(t *testing.T) {
	const want = "e4508b57-fd37-5870-9448-cba805231820"
	if got := schemas.ID("stripe", "default", "evt_1", schemas.PaymentCaptured, 0); got != want {
		t.Errorf("got %s, want %s, now and always", got, want)
	}
}

// TestIDIsUUIDv5: the ids can be computed from what the comments say.
func TestIDIsUUIDv5(t *testing.T) {
	namespace := uuid.NewSHA1(uuid.NameSpaceURL, []byte("urn:tollbridge:event"))
	for _, c := range []struct {
		connector, endpoint, identity string
		t                             schemas.Type
		item                          int
		name                          string
	}{
		{"stripe", "default", "evt_1", schemas.PaymentCaptured, 0, "6:stripe7:default5:evt_116:payment.captured1:0"},
		{"adyen", "eu-1", "8515:é", schemas.RefundFailed, 12, "5:adyen4:eu-17:8515:é13:refund.failed2:12"},
		{"", "", "", "", 0, "0:0:0:0:1:0"},
	} {
		got, want := schemas.ID(c.connector, c.endpoint, c.identity, c.t, c.item), uuid.NewSHA1(namespace, []byte(c.name))
		if got != want.String() {
			t.Errorf("ID of %s is %s, want %s", c.name, got, want)
		}
		if id, err := uuid.Parse(got); err != nil || id.Version() != 5 || id.Variant() != uuid.RFC4122 {
			t.Errorf("ID of %s is %s (%v): version %d, variant %s, want 5 and RFC 4122's", c.name, got, err, id.Version(), id.Variant())
		}
	}
}

// TestIDsDiffer: moving text from one field to the next changes the id.
func TestIDsDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, c := range []struct {
		connector, endpoint, identity string
		t                             schemas.Type
		item                          int
	}{
		{"stripe", "default", "evt_1", "payment.captured", 1},
		{"stripe", "default", "evt_1", "payment.captured", 11},
		{"stripe", "default", "evt_1", "payment.captured1", 1},
		{"stripe", "default", "evt_1", "payment.failed", 1},
		{"stripe", "default", "evt_1payment", ".captured", 1},
		{"stripe", "default", "evt_", "1payment.captured", 1},
		{"stripe", "defaultevt", "_1", "payment.captured", 1},
		{"stripe", "default5:evt_1", "", "payment.captured", 1},
		{"stripe", "defaul", "tevt_1", "payment.captured", 1},
		{"striped", "efault", "evt_1", "payment.captured", 1},
		{"default", "stripe", "evt_1", "payment.captured", 1},
		{"", "stripedefault", "evt_1", "payment.captured", 1},
		{"stripe7:default", "", "evt_1", "payment.captured", 1},
	} {
		id := schemas.ID(c.connector, c.endpoint, c.identity, c.t, c.item)
		if other, ok := seen[id]; ok {
			t.Errorf("%v has the id of %s", c, other)
		}
		seen[id] = fmt.Sprint(c)
	}
}
