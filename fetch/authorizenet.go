package fetch

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/tollbridge/tollbridge/schemas"
)

// authorizenet asks for the transaction of a refund, which names the refunded payment, and
// for that of other events that lack the merchant's reference. The credentials are in the
// body of the request, and all answers have the status 200: the code in them says what is
// wrong. The API must be enabled in the merchant interface (Transaction Details API).
//
// Authorize.Net publishes no rate limit.
//
// https://developer.authorize.net/api/reference/index.html#transaction-reporting-get-transaction-details
// https://developer.authorize.net/api/reference/responseCodes.html
var authorizenet = Connector{
	Docs:      "https://developer.authorize.net/api/reference/index.html#transaction-reporting-get-transaction-details",
	Lost:      "refunds do not name their payment",
	Keys:      "the transaction key, with the Transaction Details API enabled; Authorize.Net has no read-only ones",
	ClientID:  "the API login id",
	Hosts:     map[Environment]string{Live: "api.authorize.net", Sandbox: "apitest.authorize.net"},
	plan:      authorizenetPlan,
	authorize: authorizenetAuthorize,
	check:     authorizenetCheck,
	unknown: func(status int, body []byte) bool {
		return status == http.StatusOK && authorizenetCode(body) == "E00040" // the record cannot be found
	},
}

var authorizenetID = regexp.MustCompile(`^[0-9]{1,20}$`)

func authorizenetPlan(w Webhook, _ API) ([]Request, error) {
	var e object
	if err := decode(w.Payload, &e); err != nil {
		return nil, err
	}
	event, id := e.text("eventType"), e.text("payload.id")
	switch {
	case !strings.HasPrefix(event, "net.authorize.payment.") || !authorizenetID.MatchString(id):
		return nil, nil
	case event != "net.authorize.payment.refund.created" && (e.text("payload.merchantReferenceId") != "" || e.text("payload.invoiceNumber") != ""):
		return nil, nil
	}
	return []Request{{
		Name: "transaction/" + id, Method: http.MethodPost, Path: "/xml/v1/request.api",
		Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(id),
	}}, nil
}

// authorizenetRequest is the body of a request. Its fields have to be in this order.
type authorizenetRequest struct {
	Details struct {
		Merchant struct {
			Login string `json:"name"`
			Key   string `json:"transactionKey"`
		} `json:"merchantAuthentication"`
		Transaction string `json:"transId"`
	} `json:"getTransactionDetailsRequest"`
}

// authorizenetAuthorize writes the body anew, with the credentials. The body of the plan
// is the id alone.
func authorizenetAuthorize(r *http.Request, a API, key Key, _ time.Time) error {
	id, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	var q authorizenetRequest
	q.Details.Merchant.Login, q.Details.Merchant.Key, q.Details.Transaction = a.ClientID, key.Value, string(id)
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	return nil
}

// authorizenetCode returns the code of an answer that is an error; "" for others.
func authorizenetCode(body []byte) string {
	var d object
	if decode(body, &d) != nil || d.text("messages.resultCode") != "Error" {
		return ""
	}
	for _, m := range d.object("messages").objects("message") {
		return m.text("code")
	}
	return "none"
}

// authorizenetDenied are the codes that say that the credentials are wrong, or that the
// API is not enabled.
var authorizenetDenied = map[string]bool{"E00005": true, "E00006": true, "E00007": true, "E00008": true, "E00009": true, "E00010": true, "E00011": true}

func authorizenetCheck(_ Webhook, _ API, f schemas.Fetched) error {
	switch code := authorizenetCode(f.Body); {
	case authorizenetDenied[code]:
		return fmt.Errorf("%w, with the code %s: check the login id, the transaction key, and that the Transaction Details API is enabled", ErrCredentials, code)
	case code != "":
		return fmt.Errorf("%w: it answers with an error", ErrUnavailable)
	}
	var d object
	if err := decode(f.Body, &d); err != nil {
		return err
	}
	return checkID(f, d.text("transaction.transId"))
}
