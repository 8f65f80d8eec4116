package mutation

import (
	"slices"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/verify"
)

// unsigned is a leaf that the signature does not cover, and the parts of an event that
// are made from it because the processor has no signed leaf for them.
type unsigned struct {
	connector string
	leaf      string // its path; a "*" at the end matches any name
	may       string // the parts of the event that it may change, separated by ", "
	why       string
	page      string // the processor's documentation
}

func (u unsigned) matches(path string) bool {
	if prefix, ok := strings.CutSuffix(u.leaf, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	return path == u.leaf
}

const (
	adyenPage    = "https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures"
	realexPage   = "https://developer.globalpay.com/hpp/api"
	ipay88Page   = "https://fliphtml5.com/hmseu/oxni"
	midtransPage = "https://docs.midtrans.com/docs/https-notification-webhooks"
	opayoPage    = "https://developer-eu.elavon.com/docs/opayo-server/taking-payments/step-4-you-confirm-transaction"
	payuPage     = "https://docs.payu.in/docs/generate-hash-payu-hosted"
	skrillPage   = "https://www.skrill.com/fileadmin/content/pdf/Skrill_Quick_Checkout_Guide.pdf"
	wompiPage    = "https://docs.wompi.co/en/docs/colombia/eventos/"
)

// nothingSigned are the connectors whose signature covers nothing of the body: a shared
// value proves who sent it.
var nothingSigned = []string{"flutterwave", "mercadopago", "xendit"}

// list has the unsigned leaves that events are made from. A change of the type also
// changes the event id, which is made from it.
var list = []unsigned{
	{"adyen", "live", "mode", "no signed field tells the mode", adyenPage},
	{"adyen", "eventDate", "time, outcome", "the only time of an item", adyenPage},
	{"adyen", "additionalData.disputeStatus", "type, event id", "the only field that tells how a dispute stands", adyenPage},
	{"adyen", "additionalData.defensePeriodEndsAt", "time, outcome", "the only deadline of a dispute", adyenPage},
	{"adyen", "notificationItems/NotificationRequestItem/eventDate", "time, outcome", "as in the form", adyenPage},
	{"adyen", "notificationItems/NotificationRequestItem/additionalData/disputeStatus", "type, event id", "as in the form", adyenPage},
	{"adyen", "notificationItems/NotificationRequestItem/additionalData/defensePeriodEndsAt", "time, outcome", "as in the form", adyenPage},
	{"adyen", "notificationItems/NotificationRequestItem/paymentMethod", "type, event id, amount", "with the setting capture, the only field that tells whether the payment has to be captured by a request, as Klarna's", adyenPage},
	{"adyen", "notificationItems/NotificationRequestItem/additionalData/modification.action", "type, event id, ids, outcome", "the only field that tells whether a reversal cancelled or refunded", adyenPage},
	{"adyen", "notificationItems/NotificationRequestItem/additionalData/networkTxReference", "ids", "the only id of the network", adyenPage},
	{"adyen", "notificationItems/NotificationRequestItem/additionalData/recurring.recurringDetailReference", "ids", "the only id of the mandate of a payment", adyenPage},

	{"globalpayments-realex", "AMOUNT", "amount, outcome", "the only amount", realexPage},
	{"globalpayments-realex", "CURRENCY", "amount, outcome", "the only currency", realexPage},
	{"globalpayments-realex", "AUTO_SETTLE_FLAG", "type, event id, amount", "the only field that tells whether the payment is captured", realexPage},

	{"ipay88", "TransId", "ids, outcome", "the only id of iPay88's; no reference is learnt from it", ipay88Page},

	{"midtrans", "transaction_status", "type, event id, amount, ids, time, outcome, new events", "the status_code, which is signed, tells only success from failure", midtransPage},
	{"midtrans", "fraud_status", "type, event id, time, outcome", "only this field says that a payment is held", midtransPage},
	{"midtrans", "currency", "amount, outcome", "the only currency", midtransPage},
	{"midtrans", "transaction_id", "ids, outcome", "the only id of Midtrans's; no reference is learnt from it", midtransPage},
	{"midtrans", "transaction_time", "time, outcome", "the only time of a payment", midtransPage},
	{"midtrans", "settlement_time", "time, outcome", "the only time of a settlement", midtransPage},
	{"midtrans", "expiry_time", "time, outcome", "the only time of an expiry", midtransPage},
	{"midtrans", "refund*", "amount, event id, ids, time, outcome", "the amount that is signed is the payment's: nothing signed tells refunds apart", midtransPage},

	{"opayo-server", "TxType", "type, event id", "the only field that tells whether the payment is captured", opayoPage},

	{"payu-india", "unmappedstatus", "type, event id, amount", "the only field that tells whether a success is captured", payuPage},
	{"payu-india", "mihpayid", "ids, outcome", "the only id of PayU's; no reference is learnt from it", payuPage},
	{"payu-india", "updated_at", "time, outcome", "the only time of a dispute", payuPage},
	{"payu-india", "due_date", "time, outcome", "the only deadline of a dispute", payuPage},

	{"skrill", "mb_transaction_id", "ids, outcome", "the only id of Skrill's; no reference is learnt from it", skrillPage},

	{"wompi", "event", "outcome", "nothing signed names what the event is about", wompiPage},
	{"wompi", "data/transaction/status", "outcome", "where a status that is not known begins or ends is not signed; neither way makes an event", wompiPage},
	{"wompi", "data/nequi_token/status", "outcome", "as of a transaction", wompiPage},
	{"wompi", "data/bancolombia_transfer_token/status", "outcome", "as of a transaction", wompiPage},
	{"wompi", "data/transaction/reference", "key, ids", "nothing else names the payment", wompiPage},
	{"wompi", "data/transaction/currency", "amount, outcome", "the only currency", wompiPage},
	{"wompi", "data/transaction/payment_source_id", "ids", "the only id of the stored payment method", wompiPage},
}

// listed returns the parts that an entry allows to change, or "".
func listed(connector, part string, paths []string) string {
	for _, u := range list {
		if u.connector == connector && slices.Contains(strings.Split(u.may, ", "), part) && slices.ContainsFunc(paths, u.matches) {
			return u.leaf + ": " + part
		}
	}
	return ""
}

// unneeded reports entries of the list that allow changes which no mutant causes.
func unneeded(t *testing.T, connector string, needed map[string]bool) {
	for _, u := range list {
		if u.connector != connector {
			continue
		}
		for part := range strings.SplitSeq(u.may, ", ") {
			if !needed[u.leaf+": "+part] {
				t.Errorf("the list allows %s to change the %s, and it does not change it", u.leaf, part)
			}
		}
	}
}

// TestListNamesConnectors tests that each entry of the list names a connector that
// signs single fields.
func TestListNamesConnectors(t *testing.T) {
	for _, u := range list {
		if c, ok := verify.Lookup(u.connector); !ok || c.Covers != verify.CoversFields {
			t.Errorf("%s: %s is in the list, but the connector does not sign single fields", u.connector, u.leaf)
		}
	}
}
