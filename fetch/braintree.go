package fetch

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/tollbridge/tollbridge/schemas"
)

// braintree fetches the transactions of a disbursement, which lists only their ids, by the
// GraphQL API: for card payments Braintree sends no other webhook. The API has ids of its
// own, so the first request translates those of the webhook, and a second one searches for
// the transactions. An answer with errors has the status 200.
//
// A disbursement may list refunds, too. They are not among the transactions that the search
// finds. Only the first hundred transactions of a disbursement are fetched.
//
// Braintree publishes no rate limit.
//
// https://developer.paypal.com/braintree/graphql/reference/queries/ids-from-legacy-ids
// https://developer.paypal.com/braintree/graphql/guides/search
var braintree = Connector{
	Docs:      "https://developer.paypal.com/braintree/graphql/guides/search",
	Lost:      "the payments that a disbursement reports have no amount and no merchant's id",
	Keys:      "the private key: Settings, API Keys; Braintree has no read-only ones",
	ClientID:  "the public key that belongs to the private key",
	Hosts:     map[Environment]string{Live: "payments.braintree-api.com", Sandbox: "payments.sandbox.braintree-api.com"},
	plan:      braintreePlan,
	then:      braintreeThen,
	authorize: braintreeAuthorize,
	check:     braintreeCheck,
}

const (
	braintreeVersion = "2019-01-01" // of the API
	braintreeIDs     = 50           // ids in one request, at most
	braintreeChunks  = 2            // requests for ids, at most: each has a second one
)

// The queries, and what each answers.
const (
	braintreeTranslate = `query IDs($input: IdsFromLegacyIdsInput!) { idsFromLegacyIds(input: $input) }`
	braintreeSearch    = `query Search($input: TransactionSearchInput!) { search { transactions(input: $input, first: 50) {` +
		` edges { node { legacyId orderId amount { value currencyCode } } } } } }`
)

func braintreePlan(w Webhook, _ API) (all []Request, err error) {
	disbursement, ids := braintreeDisbursed(w.Payload)
	if disbursement == "" || w.Settings["tells"] == "transactions" {
		return nil, nil
	}
	ids = ids[:min(len(ids), braintreeChunks*braintreeIDs)]
	for chunk := range slices.Chunk(ids, braintreeIDs) {
		var input []map[string]string
		for _, id := range chunk {
			input = append(input, map[string]string{"legacyId": id, "type": "TRANSACTION"})
		}
		r, err := braintreeQuery(fmt.Sprintf("ids/%s-%d", disbursement, len(all)), braintreeTranslate, map[string]any{"input": map[string]any{"ids": input}})
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// braintreeDisbursed returns the id of a disbursement and the ids of its transactions; none
// for other notifications.
func braintreeDisbursed(payload []byte) (disbursement string, ids []string) {
	var n struct {
		Kind         string   `xml:"kind"`
		ID           string   `xml:"subject>disbursement>id"`
		Transactions []string `xml:"subject>disbursement>transaction-ids>item"`
	}
	if xml.Unmarshal(payload, &n) != nil || n.Kind != "disbursement" || !opaqueID.MatchString(n.ID) {
		return "", nil
	}
	return n.ID, slices.DeleteFunc(n.Transactions, func(id string) bool { return !opaqueID.MatchString(id) })
}

// braintreeQuery returns the request for a query with variables.
func braintreeQuery(name, query string, variables map[string]any) (Request, error) {
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables}, json.Deterministic(true))
	return Request{Name: name, Method: http.MethodPost, Path: "/graphql", Header: jsonBody, Body: body}, err
}

// braintreeThen searches for the transactions whose ids were translated.
func braintreeThen(_ Webhook, _ API, answers []schemas.Fetched) (all []Request, err error) {
	for _, a := range answers {
		ids, err := braintreeTranslated(a)
		if err != nil {
			return nil, err
		}
		chunk, ok := strings.CutPrefix(a.Name, "ids/")
		if !ok || len(ids) == 0 {
			continue
		}
		r, err := braintreeQuery("transactions/"+chunk, braintreeSearch, map[string]any{"input": map[string]any{"id": map[string]any{"in": ids}}})
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// braintreeTranslated returns the ids in an answer.
func braintreeTranslated(f schemas.Fetched) ([]string, error) {
	answer, err := braintreeAnswer(f.Body)
	if err != nil {
		return nil, err
	}
	var data struct {
		IDs []string `json:"idsFromLegacyIds"`
	}
	if err := decode(answer["data"], &data); err != nil || len(data.IDs) == 0 {
		return nil, fmt.Errorf("%w: the answer has no idsFromLegacyIds", ErrUnavailable)
	}
	return data.IDs, nil
}

func braintreeAuthorize(r *http.Request, a API, key Key, now time.Time) error {
	r.Header.Set("Braintree-Version", braintreeVersion)
	return basicPair(r, a, key, now)
}

// braintreeCheck checks that the search found transactions of the webhook alone.
func braintreeCheck(w Webhook, _ API, f schemas.Fetched) error {
	if strings.HasPrefix(f.Name, "ids/") {
		_, err := braintreeTranslated(f)
		return err
	}
	answer, err := braintreeAnswer(f.Body)
	if err != nil {
		return err
	}
	found := answer.object("data").object("search").object("transactions")
	if found == nil {
		return fmt.Errorf("%w: the answer has no transactions", ErrUnavailable)
	}
	_, ids := braintreeDisbursed(w.Payload)
	for _, edge := range found.objects("edges") {
		if id := edge.text("node.legacyId"); !slices.Contains(ids, id) {
			return fmt.Errorf("%w: the answer has the transaction %q, which the webhook does not", ErrAccount, id)
		}
	}
	return nil
}

// braintreeAnswer decodes an answer. The error for one with errors wraps [ErrCredentials]
// if the keys are refused, and [ErrUnavailable] otherwise.
func braintreeAnswer(body []byte) (answer object, err error) {
	if err := decode(body, &answer); err != nil {
		return nil, err
	}
	for _, e := range answer.objects("errors") {
		class := e.text("extensions.errorClass")
		if class == "AUTHENTICATION" || class == "AUTHORIZATION" {
			return nil, fmt.Errorf("%w: %s: check the public and the private key, and that their user may search transactions", ErrCredentials, class)
		}
		err = fmt.Errorf("%w: it answers with the error %q", ErrUnavailable, class)
	}
	return answer, err
}
