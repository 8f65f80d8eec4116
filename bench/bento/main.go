// Command bento is Bento with the components that the benchmark's configuration needs.
// It is a separate module so that it has the dependencies of Bento's release.
package main

import (
	"context"
	_ "expvar" // reports allocations on the debug address
	"log"
	"net/http"
	_ "net/http/pprof"
	"os"

	_ "github.com/warpstreamlabs/bento/public/components/crypto"
	_ "github.com/warpstreamlabs/bento/public/components/io"
	_ "github.com/warpstreamlabs/bento/public/components/kafka"
	_ "github.com/warpstreamlabs/bento/public/components/pure"
	"github.com/warpstreamlabs/bento/public/service"
)

func main() {
	if debug := os.Getenv("BENCH_DEBUG"); debug != "" {
		go func() { log.Fatal(http.ListenAndServe(debug, nil)) }()
	}
	service.RunCLI(context.Background())
}
