// Package sign makes the requests that processors would send, for `tollbridge
// send` and `soak`, and for tests. It was written from the processors'
// documentation, independently of package verify, so that each checks the other.
// Each connector has one line in the table; an unusual scheme has a file of its own.
package sign

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/verify"
)

// connectors has a signer for each connector, by name.
var connectors = map[string]Signer{
	"adyen":                 {Dev: secret("ad1e5eed00000000000000000000000000000000000000000000000000000de5"), Sign: adyen},
	"adyen-platform":        {Dev: secret("ad1e5eed000000000000000000000000000000000000000000000000000f1a7f"), Sign: adyenPlatform},
	"authorizenet":          {Dev: secret("DE5A0701DE5A0701DE5A0701DE5A0701DE5A0701DE5A0701DE5A0701DE5A0701"), Sign: authorizenet},
	"billplz":               {Dev: secret("dev-billplz-x-signature-key", "forms", `{"reference_id":"(toll-.*)?"}`), Sign: billplz},
	"braintree":             {Dev: braintreeKeys, Sign: braintree},
	"btcpay":                {Dev: secret("dev-btcpay-webhook-secret"), Sign: btcpay},
	"cashfree":              {Dev: secret("dev-cashfree-client-secret"), Sign: cashfree},
	"checkout":              {Dev: secret("dev-checkout-signature-key"), Sign: hexOfBody(sha256.New, "Cko-Signature")},
	"coinbase-commerce":     {Dev: secret("dev-coinbase-commerce-shared-secret"), Sign: hexOfBody(sha256.New, "X-Cc-Webhook-Signature")},
	"epay-bambora":          {Dev: epayBamboraKeys, Sign: epayBambora},
	"fiuu-molpay":           {Dev: fiuuMolpayKeys, Sign: fiuuMolpay},
	"flutterwave":           {Dev: secret("dev-flutterwave-secret-hash"), Sign: secretIn("Verif-Hash")},
	"globalpayments-realex": {Dev: secret("dev-realex-shared-secret", "merchant_id", "tb.shop"), Sign: inForm("SHA1HASH", globalpaymentsRealex)},
	"gocardless":            {Dev: secret("dev-gocardless-webhook-secret"), Sign: hexOfBody(sha256.New, "Webhook-Signature")},
	"ipay88":                {Dev: secret("dev-ipay88-merchant-key", "merchant_code", "TB00077", "forms", `{"RefNo":"[A-Za-z](.*[A-Za-z])?"}`), Sign: inForm("Signature", ipay88)},
	"liqpay":                {Dev: secret("dev-liqpay-private-key"), Sign: inForm("signature", liqpay)},
	"lithic":                {Dev: secret("whsec_ZGV2LWxpdGhpYy1zZWNyZXQtMjQtYnl0ZXM="), Sign: standard("Webhook")},
	"lyra":                  {Dev: secret("devpassword_DEMOLYRA"), Sign: lyra},
	"mercadopago":           {Dev: secret("dev-mercadopago-secret-signature"), Sign: mercadopago},
	"midtrans":              {Dev: secret("dev-midtrans-server-key"), Sign: midtrans},
	"modern-treasury":       {Dev: secret("dev-modern-treasury-webhook-key"), Sign: hexOfBody(sha256.New, "X-Signature")},
	"mollie":                {Dev: secret("dev-mollie-signing-secret"), Sign: hexOfBody(sha256.New, "X-Mollie-Signature")},
	"moneyhash":             {Dev: secret("dev-moneyhash-signature-key"), Sign: moneyhash},
	"monnify":               {Dev: secret("dev-monnify-client-secret"), Sign: hexOfBody(sha512.New, "Monnify-Signature")},
	"multisafepay":          {Dev: secret("dev-multisafepay-api-key"), Sign: multisafepay},
	"opayo-server":          {Dev: opayoServerKeys, Sign: opayoServer},
	"paddle":                {Dev: secret("pdl_ntfset_dev_paddle"), Sign: paddle},
	"paypal":                {Dev: paypalDev(), Private: devKey, Sign: paypal},
	"paystack":              {Dev: secret("dev-paystack-secret-key"), Sign: hexOfBody(sha512.New, "X-Paystack-Signature")},
	"payu-emea":             {Dev: secret("dev-payu-emea-second-key"), Sign: payuEmea},
	"payu-india":            {Dev: payuIndiaKeys, Sign: payuIndia},
	"portone":               {Dev: secret("ZGV2LXBvcnRvbmUtc2VjcmV0IQ=="), Sign: standard("Webhook")},
	"quickpay":              {Dev: secret("dev-quickpay-private-key"), Sign: hexOfBody(sha256.New, "QuickPay-Checksum-Sha256")},
	"razorpay":              {Dev: secret("dev-razorpay-webhook-secret"), Sign: hexOfBody(sha256.New, "X-Razorpay-Signature")},
	"recurly":               {Dev: secret("dev5ecre700000000000000000000000"), Sign: recurly},
	"robokassa":             {Dev: secret("dev-robokassa-password-2", "signed_fields", `["Shp_order_id","Shp_b","Shp_b1","Shp_C"]`), Sign: inForm("SignatureValue", robokassa)},
	"shopify":               {Dev: secret("dev-shopify-client-secret"), Sign: shopify},
	"skrill":                {Dev: secret("devskrill", "merchant_id", "20400001"), Sign: inForm("md5sig", skrill)},
	"sofort":                {Dev: secret("dev-sofort-notification-password", "project_id", "200700"), Sign: inForm("hash", sofort)},
	"square":                {Dev: secret("dev_square"), Sign: square},
	"standardwebhooks":      {Dev: secret("whsec_ZGV2LXN0YW5kYXJkd2ViaG9va3Mtc2VjcmV0"), Sign: standard("Webhook")},
	"stripe":                {Dev: secret("whsec_dev_stripe"), Sign: stripe},
	"svix":                  {Dev: secret("whsec_ZGV2LXN2aXgtc2VjcmV0LW9mLTI0LWIu"), Sign: standard("Svix")},
	"truelayer":             {Dev: truelayerDev(), Private: truelayerDevKey, Sign: truelayer},
	"trustly":               {Dev: trustlyDev(), Private: devKey, Sign: trustly},
	"wallee":                {Dev: walleeDev(), Private: walleeDevKey, Sign: wallee},
	"wechatpay":             {Dev: wechatpayDev(), Private: devKey, Sign: wechatpay},
	"wompi":                 {Dev: secret("dev_events_wompi"), Sign: wompi},
	"worldline-connect":     {Dev: secret("dev-worldline-webhooks-secret"), Sign: worldlineConnect},
	"xendit":                {Dev: secret("dev-xendit-verification-token"), Sign: secretIn("X-Callback-Token")},
	"xsolla":                {Dev: secret("dev-xsolla-project-secret"), Sign: xsolla},
}

// Signer makes the requests of one processor.
type Signer struct {
	// Dev are the keys that `tollbridge dev` configures. They are made up and public.
	Dev verify.Keys
	// Private is the private key that signs; empty if the secret of Dev signs.
	Private string
	Sign    Func
}

// Func makes the request that the processor would send to url at a time. The
// secret is one of the endpoint's secrets, or a private key.
type Func func(payload []byte, secret string, settings map[string]string, url string, now time.Time) (verify.Request, error)

// Request makes the request that a connector's processor would send to url with
// a payload, signed with secret.
func Request(connector string, payload []byte, secret string, settings map[string]string, url string, now time.Time) (verify.Request, error) {
	s, ok := connectors[connector]
	if !ok {
		return verify.Request{}, fmt.Errorf("connector %q cannot be signed for", connector)
	}
	r, err := s.Sign(payload, secret, settings, url, now)
	if err != nil {
		return verify.Request{}, fmt.Errorf("%s: %w", connector, err)
	}
	r.Method = http.MethodPost
	if r.URL == "" { // a signer sets the URL only if the processor adds a query
		r.URL = url
	}
	return r, nil
}

// Malformed reports whether a payload of a connector is refused even with a right
// signature, because a signed field does not have its format: see [verify.ErrField].
func Malformed(connector string, payload []byte) bool {
	keys, private, _ := Dev(connector)
	now := time.Unix(1767225600, 0)
	r, err := Request(connector, payload, private, keys.Settings, "https://pay.example.com/webhooks/"+connector, now)
	if err != nil {
		return false
	}
	_, err = verify.Verify(connector, r, keys, now)
	return verify.ReasonOf(err) == verify.ErrField
}

// Dev returns the made-up keys of `tollbridge dev`, and the secret or private key that signs.
func Dev(connector string) (keys verify.Keys, private string, ok bool) {
	s, ok := connectors[connector]
	if !ok {
		return verify.Keys{}, "", false
	}
	if private = s.Private; private == "" {
		private = s.Dev.Secrets[0].Value
	}
	keys = s.Dev
	keys.Secrets, keys.Settings = slices.Clone(keys.Secrets), maps.Clone(keys.Settings) // the caller may change them
	return keys, private, true
}

// secret returns dev keys with one secret and settings, given as names and
// values. The settings fit the samples.
func secret(value string, settings ...string) verify.Keys {
	k := verify.Keys{Secrets: []verify.Secret{{Name: "dev", Value: value}}}
	for i := 0; i < len(settings); i += 2 {
		if k.Settings == nil {
			k.Settings = map[string]string{}
		}
		k.Settings[settings[i]] = settings[i+1]
	}
	return k
}

// epayBamboraKeys and fiuuMolpayKeys have the formats of the samples' references.
var (
	epayBamboraKeys = secret("dev-epay-md5-key",
		"signed_fields", `["txnid","orderid","amount","currency","date","time","txnfee","subscriptionid","paymenttype","cardno"]`,
		"forms", `{"txnid":"[0-9]{7}","orderid":"(order[0-9]{2})?","subscriptionid":"(8[0-9]{4})?"}`)
	fiuuMolpayKeys = secret("dev-fiuu-secret-key", "merchant_id", "tbshop",
		"forms", `{"orderid":"[A-Za-z].*","RefID":"refund-[0-9]{2}","RefundID":"[0-9]{5}","TxnID":"[0-9]{10}"}`)
)

// btcpay sends sha256=<hex of the HMAC-SHA256 of the payload>.
func btcpay(payload []byte, secret string, _ map[string]string, _ string, _ time.Time) (verify.Request, error) {
	digest := hex.EncodeToString(mac(sha256.New, secret, string(payload)))
	return request(payload, "application/json", "Btcpay-Sig", "sha256="+digest), nil
}

// worldlineConnect sends the base64 of the HMAC-SHA256 of the payload.
func worldlineConnect(payload []byte, secret string, _ map[string]string, _ string, _ time.Time) (verify.Request, error) {
	signature := base64.StdEncoding.EncodeToString(mac(sha256.New, secret, string(payload)))
	return request(payload, "application/json", "X-Gcs-Keyid", "dev", "X-Gcs-Signature", signature), nil
}

// shopify sends the base64 of the HMAC-SHA256 of the payload.
func shopify(payload []byte, secret string, _ map[string]string, _ string, _ time.Time) (verify.Request, error) {
	signature := base64.StdEncoding.EncodeToString(mac(sha256.New, secret, string(payload)))
	return request(payload, "application/json", "X-Shopify-Hmac-Sha256", signature), nil
}

// authorizenet sends sha512=<upper-case hex of the HMAC-SHA512 of the payload>.
func authorizenet(payload []byte, secret string, _ map[string]string, _ string, _ time.Time) (verify.Request, error) {
	digest := hex.EncodeToString(mac(sha512.New, secret, string(payload)))
	return request(payload, "application/json", "X-Anet-Signature", "sha512="+strings.ToUpper(digest)), nil
}

// cashfree sends the base64 of the HMAC-SHA256 of the time in milliseconds and the payload.
func cashfree(payload []byte, secret string, _ map[string]string, _ string, now time.Time) (verify.Request, error) {
	t := strconv.FormatInt(now.UnixMilli(), 10)
	signature := base64.StdEncoding.EncodeToString(mac(sha256.New, secret, t, string(payload)))
	return request(payload, "application/json", "X-Webhook-Timestamp", t, "X-Webhook-Signature", signature), nil
}

// moneyhash sends t=<unix seconds>,v3=<hex of the HMAC-SHA256 of base64(payload) and t>.
func moneyhash(payload []byte, secret string, _ map[string]string, _ string, now time.Time) (verify.Request, error) {
	t := strconv.FormatInt(now.Unix(), 10)
	v3 := hex.EncodeToString(mac(sha256.New, secret, base64.StdEncoding.EncodeToString(payload), t))
	return request(payload, "application/json", "MoneyHash-Signature", "t="+t+",v3="+v3), nil
}

// paddle sends ts=<unix seconds>;h1=<hex of the HMAC-SHA256 of "ts:payload">.
func paddle(payload []byte, secret string, _ map[string]string, _ string, now time.Time) (verify.Request, error) {
	t := strconv.FormatInt(now.Unix(), 10)
	h1 := hex.EncodeToString(mac(sha256.New, secret, t, ":", string(payload)))
	return request(payload, "application/json", "Paddle-Signature", "ts="+t+";h1="+h1), nil
}

// recurly sends <unix milliseconds>,<hex of the HMAC-SHA256 of "milliseconds.payload">.
func recurly(payload []byte, secret string, _ map[string]string, _ string, now time.Time) (verify.Request, error) {
	t := strconv.FormatInt(now.UnixMilli(), 10)
	signature := hex.EncodeToString(mac(sha256.New, secret, t, ".", string(payload)))
	return request(payload, "application/json", "Recurly-Signature", t+","+signature), nil
}

// square sends the base64 of the HMAC-SHA256 of the notification URL and the payload.
func square(payload []byte, secret string, _ map[string]string, url string, _ time.Time) (verify.Request, error) {
	signature := base64.StdEncoding.EncodeToString(mac(sha256.New, secret, url, string(payload)))
	return request(payload, "application/json", "X-Square-Hmacsha256-Signature", signature), nil
}

// stripe sends t=<unix seconds>,v1=<hex of the HMAC-SHA256 of "t.payload">.
func stripe(payload []byte, secret string, _ map[string]string, _ string, now time.Time) (verify.Request, error) {
	t := strconv.FormatInt(now.Unix(), 10)
	v1 := hex.EncodeToString(mac(sha256.New, secret, t, ".", string(payload)))
	return request(payload, "application/json", "Stripe-Signature", "t="+t+",v1="+v1), nil
}

// payuEmea sends the hex MD5 of the payload and the second key.
func payuEmea(payload []byte, secret string, _ map[string]string, _ string, _ time.Time) (verify.Request, error) {
	signature := fmt.Sprintf("%x", md5.Sum([]byte(string(payload)+secret)))
	return request(payload, "application/json", "OpenPayu-Signature", "sender=checkout;signature="+signature+";algorithm=MD5;content=DOCUMENT"), nil
}

// xsolla sends the hex SHA-1 of the payload and the secret key.
func xsolla(payload []byte, secret string, _ map[string]string, _ string, _ time.Time) (verify.Request, error) {
	signature := fmt.Sprintf("%x", sha1.Sum([]byte(string(payload)+secret)))
	return request(payload, "application/json", "Authorization", "Signature "+signature), nil
}

// multisafepay sends the base64 of <unix seconds>:<hex of the HMAC-SHA512 of
// "seconds:payload">.
func multisafepay(payload []byte, secret string, _ map[string]string, _ string, now time.Time) (verify.Request, error) {
	t := strconv.FormatInt(now.Unix(), 10)
	auth := t + ":" + hex.EncodeToString(mac(sha512.New, secret, t, ":", string(payload)))
	return request(payload, "application/json", "Auth", base64.StdEncoding.EncodeToString([]byte(auth))), nil
}

// lyra sends a form with kr-answer, the payload, and kr-hash, the hex of its HMAC-SHA256.
func lyra(payload []byte, secret string, _ map[string]string, _ string, _ time.Time) (verify.Request, error) {
	form := url.Values{
		"kr-answer": {string(payload)}, "kr-answer-type": {"V4/Payment"}, "kr-hash-algorithm": {"sha256_hmac"}, "kr-hash-key": {"password"},
		"kr-hash": {hex.EncodeToString(mac(sha256.New, secret, string(payload)))},
	}
	return request([]byte(form.Encode()), "application/x-www-form-urlencoded"), nil
}

// standard signs by Standard Webhooks: v1,<base64 of the HMAC-SHA256 of
// "id.<unix seconds>.payload">. The key is base64 in the secret, after whsec_.
func standard(prefix string) Func {
	return func(payload []byte, secret string, _ map[string]string, _ string, now time.Time) (verify.Request, error) {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil {
			return verify.Request{}, errors.New("the secret is not base64")
		}
		id := "msg_" + hex.EncodeToString(mac(sha256.New, "id", string(payload)))[:24]
		t := strconv.FormatInt(now.Unix(), 10)
		v1 := base64.StdEncoding.EncodeToString(mac(sha256.New, string(key), id, ".", t, ".", string(payload)))
		return request(payload, "application/json", prefix+"-Id", id, prefix+"-Timestamp", t, prefix+"-Signature", "v1,"+v1), nil
	}
}

// hexOfBody is the most common scheme: it sends the hex of a MAC of the body in a header.
func hexOfBody(h func() hash.Hash, header string) Func {
	return func(payload []byte, secret string, _ map[string]string, _ string, _ time.Time) (verify.Request, error) {
		return request(payload, "application/json", header, hex.EncodeToString(mac(h, secret, string(payload)))), nil
	}
}

// inForm sends a form that has its signature in a field.
func inForm(field string, signature func(f url.Values, secret string) string) Func {
	return func(payload []byte, secret string, _ map[string]string, _ string, _ time.Time) (verify.Request, error) {
		f, err := url.ParseQuery(string(payload))
		if err != nil {
			return verify.Request{}, err
		}
		f.Del(field)
		f.Set(field, signature(f, secret))
		return request([]byte(f.Encode()), "application/x-www-form-urlencoded"), nil
	}
}

// billplz sends a bill with x_signature, or a payment order with checksum.
func billplz(payload []byte, secret string, settings map[string]string, address string, now time.Time) (verify.Request, error) {
	if !strings.Contains(string(payload), "paid=") {
		return inForm("checksum", func(f url.Values, secret string) string {
			text := f.Get("id") + f.Get("bank_account_number") + f.Get("status") + f.Get("total") + f.Get("reference_id") + f.Get("epoch")
			return hex.EncodeToString(mac(sha512.New, secret, text))
		})(payload, secret, settings, address, now)
	}
	return inForm("x_signature", func(f url.Values, secret string) string {
		var fields []string
		for name := range f {
			fields = append(fields, name+f.Get(name))
		}
		slices.SortFunc(fields, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
		return hex.EncodeToString(mac(sha256.New, secret, strings.Join(fields, "|")))
	})(payload, secret, settings, address, now)
}

// robokassa returns the hex MD5 of the amount, the invoice, the password and the
// merchant's own fields.
func robokassa(f url.Values, password string) string {
	text := f.Get("OutSum") + ":" + f.Get("InvId") + ":" + password
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if strings.HasPrefix(name, "Shp_") {
			text += ":" + name + "=" + f.Get(name)
		}
	}
	return fmt.Sprintf("%X", md5.Sum([]byte(text)))
}

// skrill returns the upper-case hex MD5 of fields and the MD5 of the secret word.
func skrill(f url.Values, secret string) string {
	text := fmt.Sprintf("%s%s%X%s%s%s", f.Get("merchant_id"), f.Get("transaction_id"), md5.Sum([]byte(secret)),
		f.Get("mb_amount"), f.Get("mb_currency"), f.Get("status"))
	return fmt.Sprintf("%X", md5.Sum([]byte(text)))
}

// ipay88 returns the base64 of the SHA-1 of the key and fields.
func ipay88(f url.Values, key string) string {
	amount := strings.NewReplacer(",", "", ".", "").Replace(f.Get("Amount"))
	sum := sha1.Sum([]byte(key + f.Get("MerchantCode") + f.Get("PaymentId") + f.Get("RefNo") + amount + f.Get("Currency") + f.Get("Status")))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// fiuuMolpay sends a payment with skey, or a refund with Signature, as a form or as JSON.
func fiuuMolpay(payload []byte, secret string, settings map[string]string, address string, now time.Time) (verify.Request, error) {
	hash := func(text string) string { return fmt.Sprintf("%x", md5.Sum([]byte(text))) }
	refund := func(f url.Values, secret string) string {
		return hash(f.Get("RefundType") + f.Get("MerchantID") + f.Get("RefID") + f.Get("RefundID") + f.Get("TxnID") + f.Get("Amount") + f.Get("Status") + secret)
	}
	if payload[0] == '{' {
		var fields map[string]string
		if err := json.Unmarshal(payload, &fields); err != nil {
			return verify.Request{}, err
		}
		f := url.Values{}
		for name, value := range fields {
			f.Set(name, value)
		}
		fields["Signature"] = refund(f, secret)
		body, err := json.Marshal(fields)
		return request(body, "application/json"), err
	}
	if !strings.Contains(string(payload), "skey=") {
		return inForm("Signature", refund)(payload, secret, settings, address, now)
	}
	return inForm("skey", func(f url.Values, secret string) string {
		key := hash(f.Get("tranID") + f.Get("orderid") + f.Get("status") + f.Get("domain") + f.Get("amount") + f.Get("currency"))
		return hash(f.Get("paydate") + f.Get("domain") + key + f.Get("appcode") + secret)
	})(payload, secret, settings, address, now)
}

// globalpaymentsRealex returns the hex SHA-1 of the SHA-1 of fields and the secret.
func globalpaymentsRealex(f url.Values, secret string) string {
	inner := sha1.Sum([]byte(strings.Join([]string{f.Get("TIMESTAMP"), f.Get("MERCHANT_ID"), f.Get("ORDER_ID"), f.Get("RESULT"),
		f.Get("MESSAGE"), f.Get("PASREF"), f.Get("AUTHCODE")}, ".")))
	return fmt.Sprintf("%x", sha1.Sum(fmt.Appendf(nil, "%x.%s", inner, secret)))
}

// liqpay returns the base64 of the SHA-1 of "<private key><data><private key>", the scheme
// before version 7 of the API.
func liqpay(f url.Values, key string) string {
	data := f.Get("data")
	if data == "" {
		xml, _ := base64.StdEncoding.DecodeString(f.Get("operation_xml"))
		data = string(xml)
	}
	sum := sha1.Sum([]byte(key + data + key))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// opayoServer sends a form with VPSSignature, the upper-case hex MD5 of fields,
// the vendor name and the security key.
func opayoServer(payload []byte, secret string, settings map[string]string, address string, now time.Time) (verify.Request, error) {
	return inForm("VPSSignature", func(f url.Values, key string) string {
		f.Set("@vendor", strings.ToLower(settings["vendor"]))
		f.Set("@key", key)
		var text strings.Builder
		for name := range strings.FieldsSeq("VPSTxId VendorTxCode Status TxAuthNo @vendor AVSCV2 Token @key AddressResult PostCodeResult " +
			"CV2Result GiftAid 3DSecureStatus CAVV AddressStatus PayerStatus CardType Last4Digits DeclineCode ExpiryDate FraudResponse " +
			"BankAuthCode ACSTransID DSTransID SchemeTraceID") {
			text.WriteString(f.Get(name))
		}
		f.Del("@vendor")
		f.Del("@key")
		return fmt.Sprintf("%X", md5.Sum([]byte(text.String())))
	})(payload, secret, settings, address, now)
}

// opayoServerKeys has the settings that the response needs.
var opayoServerKeys = verify.Keys{
	Secrets:  []verify.Secret{{Name: "dev", Value: "DEVOPAYO01"}},
	Settings: map[string]string{"vendor": "devvendor", "redirect_url": "https://shop.example.com/paid?order={VendorTxCode}"},
}

// epayBambora sends a form with hash, the hex MD5 of all values in their order
// followed by the secret key.
func epayBambora(payload []byte, key string, _ map[string]string, _ string, _ time.Time) (verify.Request, error) {
	var pairs []string
	var text strings.Builder
	for pair := range strings.SplitSeq(string(payload), "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name == "hash" {
			continue
		}
		value, err := url.QueryUnescape(value)
		if err != nil {
			return verify.Request{}, err
		}
		pairs = append(pairs, pair)
		text.WriteString(value)
	}
	pairs = append(pairs, fmt.Sprintf("hash=%x", md5.Sum([]byte(text.String()+key))))
	return request([]byte(strings.Join(pairs, "&")), "application/x-www-form-urlencoded"), nil
}

// sofort returns the hex SHA-1 of all fields and the password.
func sofort(f url.Values, password string) string {
	var text strings.Builder
	for name := range strings.FieldsSeq("transaction user_id project_id " +
		"sender_holder sender_account_number sender_bank_code sender_bank_name sender_bank_bic sender_iban sender_country_id " +
		"recipient_holder recipient_account_number recipient_bank_code recipient_bank_name recipient_bank_bic recipient_iban recipient_country_id " +
		"international_transaction amount currency_id reason_1 reason_2 security_criteria " +
		"user_variable_0 user_variable_1 user_variable_2 user_variable_3 user_variable_4 user_variable_5 created") {
		text.WriteString(f.Get(name) + "|")
	}
	if f.Has("status") {
		text.WriteString(f.Get("status") + "|" + f.Get("status_modified") + "|")
	}
	return fmt.Sprintf("%x", sha1.Sum([]byte(text.String()+password)))
}

// payuIndiaKeys has the merchant key of the samples, with which disputes are signed.
var payuIndiaKeys = verify.Keys{
	Secrets:  []verify.Secret{{Name: "dev", Value: "dev-payu-india-salt"}},
	Settings: map[string]string{"merchant_key": "tbKEY1"},
}

// payuIndia sends a form with its hash in a field, or a dispute with its hash in a header.
func payuIndia(payload []byte, salt string, settings map[string]string, address string, now time.Time) (verify.Request, error) {
	if !strings.HasPrefix(string(payload), "{") {
		return inForm("hash", payuIndiaForm)(payload, salt, settings, address, now)
	}
	var d struct {
		TxnID    string      `json:"txn_id"`
		CbAmount string      `json:"cb_amount"`
		CbID     json.Number `json:"cb_id"`
		CbType   string      `json:"cb_type"`
		CbStatus string      `json:"cb_status"`
	}
	if err := json.Unmarshal(payload, &d); err != nil {
		return verify.Request{}, err
	}
	text := strings.Join([]string{settings["merchant_key"], d.TxnID, d.CbAmount, d.CbID.String(), d.CbType, strings.Join(strings.Fields(d.CbStatus), ""), salt}, "|")
	return request(payload, "application/json", "X-PayU-Dispute-Webhook-Signature-V2", fmt.Sprintf("%x", sha512.Sum512([]byte(text)))), nil
}

// payuIndiaForm returns the hex SHA-512 of the salt and the fields in reverse order.
func payuIndiaForm(f url.Values, salt string) string {
	text := salt + "|" + f.Get("status")
	if split := f.Get("splitInfo"); split != "" {
		text += "|" + split
	}
	text += "|||||" // five empty values in place of udf10 to udf6
	for n := 5; n > 0; n-- {
		text += "|" + f.Get("udf"+strconv.Itoa(n))
	}
	text += "|" + f.Get("email") + "|" + f.Get("firstname") + "|" + f.Get("productinfo")
	text += "|" + f.Get("amount") + "|" + f.Get("txnid") + "|" + f.Get("key")
	if charges := f.Get("additionalCharges"); charges != "" {
		text = charges + "|" + text
	}
	return fmt.Sprintf("%x", sha512.Sum512([]byte(text)))
}

// secretIn sends the secret itself in a header and signs nothing.
func secretIn(header string) Func {
	return func(payload []byte, secret string, _ map[string]string, _ string, _ time.Time) (verify.Request, error) {
		return request(payload, "application/json", header, secret), nil
	}
}

// errNoObject is the error of a payload to which no signature can be added.
var errNoObject = errors.New("the payload, or an item of it, is null: want a JSON object")

// request returns a request with a body, a content type and headers, given as names and values.
func request(body []byte, contentType string, headers ...string) verify.Request {
	h := http.Header{"Content-Type": {contentType}}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return verify.Request{Header: h, Body: body}
}

// mac returns the HMAC of the concatenated parts.
func mac(h func() hash.Hash, key string, parts ...string) []byte {
	m := hmac.New(h, []byte(key))
	for _, p := range parts {
		m.Write([]byte(p))
	}
	return m.Sum(nil)
}
