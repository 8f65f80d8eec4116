package ingest

import (
	stdlog "log"
	"net/http"
	"time"

	"github.com/rs/zerolog"
)

// HTTPServer returns the HTTP server for the webhooks' listener or the admin
// listener, with limits for connections and headers. Its errors go to the log.
// [Config.Deadline] is the limit for handling a webhook.
func HTTPServer(h http.Handler, log zerolog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second, // the body, too
		WriteTimeout:      60 * time.Second, // from the end of the headers; longer than any deadline
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          stdlog.New(log, "", 0),
	}
}
