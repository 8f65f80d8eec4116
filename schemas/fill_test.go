package schemas_test

import (
	"reflect"
	"testing"

	"github.com/tollbridge/tollbridge/schemas"
)

// TestFieldsByName: ParseFields reads the names that Fields.String writes.
func TestFieldsByName(t *testing.T) {
	for _, typ := range schemas.Types() {
		e := full(typ)
		if e.Fields() == 0 || schemas.ParseFields(e.Fields().String()) != e.Fields() {
			t.Errorf("%s: fields %q read back are %q", typ, e.Fields(), schemas.ParseFields(e.Fields().String()))
		}
	}
	if got := schemas.ParseFields("amount,a_later_one,"); got.String() != "amount" {
		t.Errorf("fields %q, want amount alone", got)
	}
}

// TestFill: an event without its optional fields gets all of them from another event
// of the same fact, and a full one keeps its own.
func TestFill(t *testing.T) {
	for _, typ := range schemas.Types() {
		e := full(typ)
		bare := e
		bare.Subject = "stripe:acct_1:pi_1"
		bare.Data = schemas.Data{
			MerchantTransactionID: bare.Subject, KeySource: schemas.KeyFromConnector,
			Connector: e.Data.Connector, Endpoint: e.Data.Endpoint, Account: e.Data.Account, Live: true,
			ConnectorEventID: e.Data.ConnectorEventID, ConnectorEventType: e.Data.ConnectorEventType, Status: e.Data.Status, ReceivedAt: e.Data.ReceivedAt,
			Late: e.Data.Late, NewestEventID: e.Data.NewestEventID, Contradicts: e.Data.Contradicts, Corrects: e.Data.Corrects,
		}
		filled, added := bare.Fill(e)
		if added != e.Fields() || !reflect.DeepEqual(filled, e) {
			t.Errorf("%s: filled with %q:\n%+v\nwant\n%+v", typ, added, filled, e)
		}
		other := full(typ)
		other.Subject, other.Data.MerchantTransactionID = "order-44", "order-44"
		other.Data.Amount = &schemas.Amount{Value: 1, Currency: "USD"}
		if kept, added := e.Fill(other); added != 0 || !reflect.DeepEqual(kept, e) {
			t.Errorf("%s: a full event got %q from another", typ, added)
		}
	}
	card, visa := full(schemas.PaymentCaptured), full(schemas.PaymentCaptured)
	card.Data.PaymentMethod = &schemas.PaymentMethod{Type: "card"}
	if e, added := card.Fill(visa); added.String() != "payment_method.brand" || e.Data.PaymentMethod.Brand != "visa" {
		t.Errorf("a card without a brand got %q", added)
	}
	card.Data.PaymentMethod = &schemas.PaymentMethod{Type: "link"}
	if e, added := card.Fill(visa); added != 0 || e.Data.PaymentMethod.Brand != "" {
		t.Errorf("another method got the brand of a card: %+v", e.Data.PaymentMethod)
	}
}
