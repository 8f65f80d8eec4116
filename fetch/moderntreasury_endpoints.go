package fetch

import "net/url"

// modernTreasuryHook reads the webhook endpoints of the organization. Which events an
// endpoint gets is not in the documented answer, so it is taken to get all.
//
// https://docs.moderntreasury.com/platform/reference/webhooks
var modernTreasuryHook = hook{
	keys: "the organization id and a read-only API key",
	request: func(_ API, cursor string) (Request, error) {
		query := url.Values{"per_page": {"100"}}
		if cursor != "" {
			query.Set("after_cursor", cursor)
		}
		return Request{Path: "/api/webhook_endpoints", Query: query}, nil
	},
	read: func(_ API, a Answer) (all []Hook, next string, err error) {
		var page []object
		if err := decode(a.Body, &page); err != nil {
			return nil, "", err
		}
		for _, o := range page {
			all = append(all, Hook{ID: o.text("id"), URL: o.text("url"), Enabled: o.text("status") != "disabled", AllTypes: true})
		}
		return all, a.Header.Get("X-After-Cursor"), nil
	},
}
