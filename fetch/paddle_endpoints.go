package fetch

import "net/url"

// paddleHook reads the notification destinations that are addresses.
//
// https://developer.paddle.com/api-reference/notification-settings/list-notification-settings
var paddleHook = hook{
	keys: "an API key with notification_setting.read",
	request: func(_ API, cursor string) (Request, error) {
		query := url.Values{"per_page": {"200"}}
		if cursor != "" {
			query.Set("after", cursor)
		}
		return Request{Path: "/notification-settings", Query: query}, nil
	},
	read: func(_ API, a Answer) (all []Hook, next string, err error) {
		var page object
		if err := decode(a.Body, &page); err != nil {
			return nil, "", err
		}
		for _, o := range page.objects("data") {
			next = o.text("id")
			if o.text("type") != "url" {
				continue
			}
			h := Hook{ID: o.text("id"), URL: o.text("destination"), Enabled: o.text("active") == "true", APIVersion: o.text("api_version")}
			for _, t := range o.objects("subscribed_events") {
				h.Types = append(h.Types, t.text("name"))
			}
			if o.text("traffic_source") == "simulation" {
				h.Trouble = "it gets simulated events only: set traffic_source to platform"
			}
			all = append(all, h)
		}
		if page.text("meta.pagination.has_more") != "true" {
			next = ""
		}
		return all, next, nil
	},
	create: &paddleCreation,
}

// paddleCreation makes a notification destination.
//
// https://developer.paddle.com/api-reference/notification-settings/create-notification-setting
var paddleCreation = creation{
	docs: "https://developer.paddle.com/api-reference/notification-settings/create-notification-setting",
	keys: "an API key with notification_setting.read and notification_setting.write",
	requests: func(_ API, n NewHook, _ Answer) ([]Request, error) {
		return []Request{jsonRequest("/notification-settings", map[string]any{
			"description": hookName, "type": "url", "destination": n.URL, "api_version": 1, "traffic_source": "platform", "subscribed_events": n.Types,
		})}, nil
	},
	read: func(page object) Made {
		o := page.object("data")
		return Made{Hook: Hook{ID: o.text("id"), URL: o.text("destination"), Enabled: o.text("active") == "true", APIVersion: o.text("api_version")}, Secret: o.text("endpoint_secret_key")}
	},
}
