package fetch

import "net/url"

// svixHook reads the endpoints of the application. An endpoint without filterTypes gets all
// event types.
//
// https://api.svix.com/docs#tag/Endpoint/operation/v1.endpoint.list
// https://github.com/svix/svix-webhooks, go/endpoint.go
var svixHook = hook{
	keys: "a key for your application in the sender's account at Svix",
	request: func(a API, cursor string) (Request, error) {
		query := url.Values{"limit": {"250"}}
		if cursor != "" {
			query.Set("iterator", cursor)
		}
		return Request{Path: svixEndpoints(a), Query: query}, nil
	},
	read: func(_ API, a Answer) (all []Hook, next string, err error) {
		var page object
		if err := decode(a.Body, &page); err != nil {
			return nil, "", err
		}
		for _, o := range page.objects("data") {
			h := svixEndpoint(o)
			h.AllTypes = len(h.Types) == 0
			all = append(all, h)
		}
		if page.text("done") != "true" {
			next = page.text("iterator")
		}
		return all, next, nil
	},
	create: &svixCreation,
}

// svixCreation makes an endpoint with our secret. Without event types it gets all.
//
// https://api.svix.com/docs#tag/Endpoint/operation/v1.endpoint.create
var svixCreation = creation{
	docs:   "https://api.svix.com/docs#tag/Endpoint/operation/v1.endpoint.create",
	keys:   "a key for your application in the sender's account at Svix",
	secret: standardSecret,
	requests: func(a API, n NewHook, _ Answer) ([]Request, error) {
		body := map[string]any{"url": n.URL, "description": hookName, "secret": n.Secret}
		if len(n.Types) > 0 {
			body["filterTypes"] = n.Types
		}
		return []Request{jsonRequest(svixEndpoints(a), body)}, nil
	},
	read: func(o object) Made {
		return Made{Hook: svixEndpoint(o)}
	},
}

// svixEndpoints returns the path of the endpoints of the application.
func svixEndpoints(a API) string { return "/api/v1/app/" + segment(a.ClientID) + "/endpoint" }

// svixEndpoint reads an endpoint.
func svixEndpoint(o object) Hook {
	return Hook{ID: o.text("id"), URL: o.text("url"), Enabled: o.text("disabled") != "true", Types: o.strings("filterTypes")}
}
