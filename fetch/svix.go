package fetch

import "regexp"

// svix is asked only for its webhook endpoints. The API is that of the sender's account at
// Svix, in which each receiver is an application. A sender gives its receivers a key for
// their application, or only a portal in the browser.
//
// https://api.svix.com/docs and https://github.com/svix/svix-webhooks, openapi.json
var svix = Connector{
	Docs:         "https://api.svix.com/docs",
	Keys:         "a key for your application in the sender's account at Svix, if the sender gives you one",
	ClientID:     "the id of your application (app_…), which the sender tells you",
	ClientIDForm: regexp.MustCompile(`^[A-Za-z0-9_.-]{1,256}$`),
	Hosts:        map[Environment]string{Live: "api.svix.com", Sandbox: "api.svix.com"},
	OtherHosts:   []string{"api.us.svix.com", "api.eu.svix.com", "api.in.svix.com", "api.ca.svix.com", "api.au.svix.com"},
}
