package fetch_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
)

// braintreeAPI is the API as in
// https://developer.paypal.com/braintree/graphql/reference/queries/ids-from-legacy-ids and
// https://developer.paypal.com/braintree/graphql/reference/queries/transactions.
var braintreeAPI = api{
	config: fetch.API{Keys: []fetch.Key{{Name: "main", Value: secretText}}, ClientID: "public-71"},
	accepts: func(r *http.Request) error {
		if user, password, _ := r.BasicAuth(); user != "public-71" || password != secretText {
			return errors.New("other credentials")
		}
		return errors.Join(wants(r, "Braintree-Version", "2019-01-01"), wants(r, "Content-Type", "application/json"))
	},
	answer: braintreeAnswer,
	webhooks: []webhookCase{
		{name: "a disbursement", payload: braintreeDisbursement("disbursement", "bt1", "bt2", "rf1"),
			requests: []string{"POST /graphql", "POST /graphql"}, documents: []string{"ids/dep7k2-0", "transactions/dep7k2-0"}},
		{name: "a disbursement that does not report its payments", payload: braintreeDisbursement("disbursement", "bt1"), settings: map[string]string{"tells": "transactions"}},
		{name: "a disbursement without transactions", payload: braintreeDisbursement("disbursement")},
		{name: "one that failed", payload: braintreeDisbursement("disbursement_exception", "bt1")},
		{name: "no XML", payload: `{}`},
	},
}

func braintreeDisbursement(kind string, ids ...string) string {
	items := ""
	for _, id := range ids {
		items += "<item>" + id + "</item>"
	}
	return `<notification><timestamp type="datetime">2026-01-01T10:15:30Z</timestamp><kind>` + kind + `</kind><subject><disbursement><id>dep7k2</id>` +
		`<transaction-ids type="array">` + items + `</transaction-ids><success type="boolean">true</success></disbursement></subject></notification>`
}

// braintreeAnswer answers the two queries. The API's own id of bt1 is global-bt1. Those that
// begin with rf are refunds.
func braintreeAnswer(body []byte) (string, bool) {
	var q struct {
		Query     string
		Variables struct {
			Input struct {
				IDs []struct{ LegacyID, Type string } `json:"ids"`
				ID  struct{ In []string }             `json:"id"`
			}
		}
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return "", false
	}
	var all []string
	switch in := q.Variables.Input; {
	case strings.Contains(q.Query, "idsFromLegacyIds(input") && len(in.IDs) <= 50:
		for _, id := range in.IDs {
			all = append(all, fmt.Sprintf(`"global-%s"`, id.LegacyID))
		}
		return `{"data":{"idsFromLegacyIds":[` + strings.Join(all, ",") + `]}}`, true
	case strings.Contains(q.Query, "search") && len(in.ID.In) <= 50:
		for _, id := range in.ID.In {
			if id, ok := strings.CutPrefix(id, "global-"); ok && !strings.HasPrefix(id, "rf") {
				all = append(all, fmt.Sprintf(`{"node":{"legacyId":"%s","orderId":"order-%[1]s","amount":{"value":"10.99","currencyCode":"USD"}}}`, id))
			}
		}
		return `{"data":{"search":{"transactions":{"edges":[` + strings.Join(all, ",") + `]}}}}`, true
	}
	return `{"data":null,"errors":[{"message":"` + secretText + `","extensions":{"errorClass":"VALIDATION"}}]}`, true
}

// TestBraintreeErrors: the status of an error is 200; its class says what is wrong.
func TestBraintreeErrors(t *testing.T) {
	for class, want := range map[string]error{"AUTHENTICATION": fetch.ErrCredentials, "AUTHORIZATION": fetch.ErrCredentials, "INTERNAL": fetch.ErrUnavailable, "RESOURCE_LIMIT": fetch.ErrUnavailable} {
		s := fetchtest.New(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"data":null,"errors":[{"message":"`+secretText+`","extensions":{"errorClass":"`+class+`"}}]}`)
		})
		_, err := s.Client.Fetch(t.Context(), "braintree", braintreeAPI.config, braintreeAPI.webhooks[0].webhook())
		if !errors.Is(err, want) || strings.Contains(err.Error(), secretText) {
			t.Errorf("%s: %v", class, err)
		}
	}
}

// TestBraintreeManyTransactions: a disbursement of more transactions than two requests can
// name is fetched in part.
func TestBraintreeManyTransactions(t *testing.T) {
	var ids []string
	for n := range 130 {
		ids = append(ids, fmt.Sprint("bt", n))
	}
	s := fetchtest.New(t, braintreeAPI.serve)
	w := webhookCase{payload: braintreeDisbursement("disbursement", ids...)}.webhook()
	documents, err := s.Client.Fetch(t.Context(), "braintree", braintreeAPI.config, w)
	if err != nil || len(documents) != 4 || strings.Count(string(documents[2].Body)+string(documents[3].Body), "legacyId") != 100 {
		t.Errorf("%d documents, %v", len(documents), err)
	}
}
