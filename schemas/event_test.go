package schemas_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

var (
	happened = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	received = time.Date(2026, 11, 23, 10, 0, 1, 200e6, time.UTC)
	respond  = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
)

// full returns an event of type t with every field that its family has.
func full(t schemas.Type) schemas.Event {
	d := schemas.Data{
		MerchantTransactionID:  "order-43",
		KeySource:              schemas.KeyFromPayload,
		Connector:              "stripe",
		Endpoint:               "default",
		Account:                "acct_1",
		Live:                   true,
		ConnectorEventID:       "evt_1",
		ConnectorEventType:     "some.event",
		ConnectorTransactionID: "pi_1",
		ConnectorReferences:    []string{"ch_1"},
		Amount:                 &schemas.Amount{Value: 1099, Currency: "EUR"},
		Status:                 t.Status(),
		ReceivedAt:             received,
		Late:                   true,
		NewestEventID:          "0b0f6f5a-0000-5000-8000-000000000001",
		Contradicts:            "0b0f6f5a-0000-5000-8000-000000000002",
		Corrects:               "0b0f6f5a-0000-5000-8000-000000000003",
	}
	method := &schemas.PaymentMethod{Type: "card", Brand: "visa"}
	failure := &schemas.Error{Code: "card_declined", Message: "No money.", NetworkCode: "51"}
	const reason = "fraudulent"
	switch t.Family() {
	case "payment":
		d.AuthorizedAmount = &schemas.Amount{Value: 2000, Currency: "EUR"}
		d.CapturedAmount = &schemas.Amount{Value: 1099, Currency: "EUR"}
		d.NetworkTransactionID, d.MandateID = "net_1", "pm_1"
		d.ConnectorRefundID = "re_1"
		d.PaymentMethod, d.Error = method, failure
	case "refund":
		d.ConnectorRefundID, d.MerchantRefundID = "re_1", "refund-7"
		d.PaymentMethod, d.Reason, d.Error = method, reason, failure
	case "dispute":
		d.ConnectorDisputeID, d.ReasonCode, d.Stage, d.RespondBy = "dp_1", "10.4", schemas.StageDispute, &respond
		d.PaymentMethod, d.Reason = method, reason
	case "payout":
		d.ConnectorPayoutID, d.MerchantPayoutID = "po_1", "payout-9"
		d.Reason, d.Error = reason, failure
	case "mandate":
		d.ConnectorMandateID = "mandate_1"
		d.PaymentMethod, d.Reason, d.Error = method, reason, failure
	case "fraud":
		d.PaymentMethod, d.Reason = method, reason
	}
	return schemas.Event{
		SpecVersion:     schemas.SpecVersion,
		ID:              schemas.ID("stripe", "default", "evt_1", t, 0),
		Source:          "/webhooks/stripe/default",
		Type:            t,
		Subject:         d.MerchantTransactionID,
		Time:            happened,
		DataContentType: "application/json",
		DataSchema:      t.Schema(),
		Data:            d,
	}
}

func TestValidate(t *testing.T) {
	for _, typ := range schemas.Types() {
		e := full(typ)
		if err := e.Validate(); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
	}
	beyond := time.UnixMilli(1e18)
	for _, c := range []struct {
		says   string
		change func(*schemas.Event)
	}{
		{"has no id", func(e *schemas.Event) { e.ID = "" }},
		{`unknown type "payment.done"`, func(e *schemas.Event) { e.Type = "payment.done" }},
		{"subject is empty", func(e *schemas.Event) { e.Subject, e.Data.MerchantTransactionID = "", "" }},
		{"not UTF-8", func(e *schemas.Event) { e.Subject, e.Data.MerchantTransactionID = "\xff", "\xff" }},
		{`subject "order-44" differs from merchant_transaction_id "order-43"`, func(e *schemas.Event) { e.Subject = "order-44" }},
		{"time is missing", func(e *schemas.Event) { e.Time = time.Time{} }},
		{"time is in the year", func(e *schemas.Event) { e.Time = beyond }},
		{"respond_by is in the year", func(e *schemas.Event) { e.Data.RespondBy = &beyond }},
	} {
		e := full(schemas.DisputeOpened)
		c.change(&e)
		err := e.Validate()
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("got %v, want an error that says %q", err, c.says)
		}
	}
}

// everything is the encoding of an event with every field. A name that changes
// here changes for every consumer, and needs a new version of the schema (see
// [schemas.Type.Schema]).
const everything = `{
  "specversion": "1.0",
  "id": "8c0a8728-1fde-5364-b668-e4aa54b8508e",
  "source": "/webhooks/stripe/default",
  "type": "dispute.opened",
  "subject": "order-43",
  "time": "2026-11-23T10:00:00Z",
  "datacontenttype": "application/json",
  "dataschema": "urn:tollbridge:schemas/dispute.opened/1",
  "data": {
    "merchant_transaction_id": "order-43",
    "key_source": "payload",
    "connector": "stripe",
    "endpoint": "default",
    "account": "acct_1",
    "live": true,
    "connector_event_id": "evt_1",
    "connector_event_type": "some.event",
    "connector_transaction_id": "pi_1",
    "connector_references": [
      "ch_1"
    ],
    "amount": {
      "value": 1099,
      "currency": "EUR"
    },
    "status": "opened",
    "received_at": "2026-11-23T10:00:01.2Z",
    "late": true,
    "newest_event_id": "0b0f6f5a-0000-5000-8000-000000000001",
    "contradicts": "0b0f6f5a-0000-5000-8000-000000000002",
    "corrects": "0b0f6f5a-0000-5000-8000-000000000003",
    "authorized_amount": {
      "value": 2000,
      "currency": "EUR"
    },
    "captured_amount": {
      "value": 1099,
      "currency": "EUR"
    },
    "payment_method": {
      "type": "card",
      "brand": "visa"
    },
    "network_transaction_id": "net_1",
    "mandate_id": "pm_1",
    "error": {
      "code": "card_declined",
      "message": "No money.",
      "network_code": "51"
    },
    "connector_refund_id": "re_1",
    "merchant_refund_id": "refund-7",
    "reason": "fraudulent",
    "connector_dispute_id": "dp_1",
    "reason_code": "10.4",
    "stage": "dispute",
    "respond_by": "2026-12-01T00:00:00Z",
    "connector_payout_id": "po_1",
    "merchant_payout_id": "payout-9",
    "connector_mandate_id": "mandate_1"
  }
}`

func TestEncoding(t *testing.T) {
	e := full(schemas.DisputeOpened)
	for _, typ := range []schemas.Type{schemas.PaymentCaptured, schemas.RefundFailed, schemas.PayoutFailed, schemas.MandateActive} {
		b, err := json.Marshal(full(typ).Data)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &e.Data); err != nil { // fields that b lacks keep their values
			t.Fatal(err)
		}
	}
	e.Data.Status = e.Type.Status()
	got, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != everything {
		t.Errorf("the encoding of events changed\ngot:\n%s\nwant:\n%s", got, everything)
	}
	var back schemas.Event
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if again, _ := json.MarshalIndent(back, "", "  "); string(again) != everything {
		t.Errorf("decoded and encoded again, the event is\n%s", again)
	}
}

// TestEncodeOmitsEmptyFields: fields that the processor did not send are absent, and
// live is present even if it is false.
func TestEncodeOmitsEmptyFields(t *testing.T) {
	got, err := json.Marshal(schemas.Data{MerchantTransactionID: "order-43", KeySource: schemas.KeyFromConnector, Connector: "stripe",
		Endpoint: "default", ConnectorEventType: "some.event", Status: "captured", ReceivedAt: received})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"merchant_transaction_id":"order-43","key_source":"connector","connector":"stripe","endpoint":"default","live":false,` +
		`"connector_event_type":"some.event","status":"captured","received_at":"2026-11-23T10:00:01.2Z"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
