package fetch

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

// adyenHook reads the standard webhooks of the company or merchant account.
//
// It is not documented whether includeEventCodes has the codes that Adyen sends by default.
// Where the answer has that list, a code that is not in it is reported as missing. Where it
// has none, every code is taken as sent, except those in excludeEventCodes.
//
// https://docs.adyen.com/api-explorer/Management/3/get/companies/(companyId)/webhooks
// https://github.com/Adyen/adyen-go-api-library, src/management/model_webhook.go and
// model_additional_settings_response.go
var adyenHook = hook{
	keys: "an API key of the Management API with the role Management API—Webhooks read",
	request: func(a API, cursor string) (Request, error) {
		query := url.Values{"pageSize": {"100"}, "pageNumber": {"1"}}
		if cursor != "" {
			query.Set("pageNumber", cursor)
		}
		return Request{Path: adyenWebhooks(a), Query: query}, nil
	},
	read: func(_ API, a Answer) (all []Hook, next string, err error) {
		var page object
		if err := decode(a.Body, &page); err != nil {
			return nil, "", err
		}
		for _, o := range page.objects("data") {
			if o.text("type") != "standard" {
				continue
			}
			settings := o.object("additionalSettings")
			h := Hook{ID: o.text("id"), URL: o.text("url"), Enabled: o.text("active") == "true", Types: settings.strings("includeEventCodes"), Excluded: settings.strings("excludeEventCodes")}
			h.AllTypes = len(h.Types) == 0
			switch {
			case o.text("hasError") == "true":
				h.Trouble = "Adyen reports errors of its deliveries: test it in the Customer Area, Developers, Webhooks"
			case o.text("communicationFormat") == "soap":
				h.Trouble = "its format is SOAP, which tollbridge does not read: set it to JSON"
			}
			all = append(all, h)
		}
		number, _ := strconv.Atoi(a.Query.Get("pageNumber"))
		if last, _ := strconv.Atoi(page.text("pagesTotal")); number < last {
			next = strconv.Itoa(number + 1)
		}
		return all, next, nil
	},
	create: &adyenCreation,
}

// adyenCreation makes a standard webhook with the event codes. Its HMAC key is made by a
// request of its own. A webhook of a company account gets the webhooks of the accounts in the
// setting merchant_accounts, or of all: our endpoint would refuse those of others, and Adyen
// sends no further webhook while one is refused.
//
// https://docs.adyen.com/api-explorer/Management/3/post/companies/(companyId)/webhooks
// https://docs.adyen.com/api-explorer/Management/3/post/companies/(companyId)/webhooks/(webhookId)/generateHmac
// https://github.com/Adyen/adyen-magento2/pull/1639, for includeEventCodes
var adyenCreation = creation{
	docs: "https://docs.adyen.com/api-explorer/Management/3/post/companies/(companyId)/webhooks",
	keys: "an API key of the Management API with the role Management API—Webhooks read and write",
	requests: func(a API, n NewHook, _ Answer) ([]Request, error) {
		body := map[string]any{
			"type": "standard", "url": n.URL, "active": true, "communicationFormat": "json", "description": hookName,
			"additionalSettings": map[string]any{"includeEventCodes": n.Types},
		}
		if strings.HasPrefix(a.ClientID, "companies/") {
			accounts := []string{}
			kind := "allAccounts"
			if setting := n.Settings["merchant_accounts"]; setting != "" {
				kind = "includeAccounts"
				if err := json.Unmarshal([]byte(setting), &accounts); err != nil {
					return nil, fmt.Errorf("the setting merchant_accounts is not a list in JSON: %w", err)
				}
			}
			body["filterMerchantAccountType"], body["filterMerchantAccounts"] = kind, accounts
		}
		return []Request{jsonRequest(adyenWebhooks(a), body)}, nil
	},
	read: func(o object) Made {
		return Made{Hook: Hook{ID: o.text("id"), URL: o.text("url"), Enabled: o.text("active") == "true"}}
	},
	secretOf: func(a API, id string) Request {
		return Request{Method: http.MethodPost, Path: adyenWebhooks(a) + "/" + segment(id) + "/generateHmac", Header: jsonBody}
	},
	secretField: "hmacKey",
}

// adyenWebhooks returns the path of the webhooks of the account.
func adyenWebhooks(a API) string {
	kind, name, _ := strings.Cut(a.ClientID, "/")
	if !slices.Contains([]string{"companies", "merchants"}, kind) {
		kind = "merchants"
	}
	return "/v3/" + kind + "/" + segment(name) + "/webhooks"
}
