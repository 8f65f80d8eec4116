package fetch

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// adyenHook reads the standard webhooks of the company or merchant account.
//
// The answer has the event codes that are sent and those that are not. It is not
// documented whether the former include the codes that Adyen sends by default. If there is
// a list of those that are sent, a code that is not in it is reported, so that somebody
// looks; without a list, all codes but those that are not sent are taken as sent.
//
// https://docs.adyen.com/api-explorer/Management/3/get/companies/(companyId)/webhooks
// https://github.com/Adyen/adyen-go-api-library, src/management/model_webhook.go and
// model_additional_settings_response.go
var adyenHook = hook{
	docs: "https://docs.adyen.com/api-explorer/Management/3/get/companies/(companyId)/webhooks",
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
}

// adyenWebhooks returns the path of the webhooks of the account.
func adyenWebhooks(a API) string {
	kind, name, _ := strings.Cut(a.ClientID, "/")
	if !slices.Contains([]string{"companies", "merchants"}, kind) {
		kind = "merchants"
	}
	return "/v3/" + kind + "/" + segment(name) + "/webhooks"
}
