package ingest

import (
	stdlog "log"
	"net/http"
	"time"

	"github.com/rs/zerolog"
)

// HTTPServer returns the server for a listener of webhooks or of [Server.Admin],
// with what a sender may cost before and after its request is read. Its own
// complaints go to the log.
//
// The time limits are those of the connection. That a webhook is answered
// before its processor gives up is [Config.Deadline]'s.
func HTTPServer(h http.Handler, log zerolog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second, // the body, too
		WriteTimeout:      60 * time.Second, // from the end of the headers: longer than any deadline
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          stdlog.New(log, "", 0),
	}
}
