package verify_test

import (
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/tollbridge/tollbridge/verify"
)

// The body must be the exact bytes that were received.
func Example() {
	body := []byte(`{"id":"evt_1","object":"event","type":"payment_intent.succeeded"}`)
	header := http.Header{"Stripe-Signature": {"t=1767225600,v1=808cefc2ab27386127f2ddbcd883bf40429c557b76cfa820a2a29edd0296f005"}}
	keys := verify.Keys{Secrets: []verify.Secret{{Name: "main", Value: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}}

	verified, err := verify.Verify("stripe", verify.Request{Method: "POST", Header: header, Body: body}, keys, time.Unix(1767225600, 0))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", verified.Payload)

	body[10] = '2'
	_, err = verify.Verify("stripe", verify.Request{Method: "POST", Header: header, Body: body}, keys, time.Unix(1767225600, 0))
	fmt.Println(string(verify.ReasonOf(err)))
	// Output:
	// {"id":"evt_1","object":"event","type":"payment_intent.succeeded"}
	// signature_mismatch
}
