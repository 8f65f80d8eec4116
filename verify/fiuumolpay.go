package verify

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/url"
	"time"
)

// fiuuMolpay, once MOLPay and Razer Merchant Services, hashes a payment twice:
// skey is the MD5 of "<paydate><domain><hash><appcode><secret key>", where hash
// is the MD5 of "<tranID><orderid><status><domain><amount><currency>", as hex.
// A form without skey is about a refund: Signature is the MD5 of "<RefundType>
// <MerchantID><RefID><RefundID><TxnID><Amount><Status><secret key>".
//
// Nothing stands between the fields: where tranID ends and orderid begins is
// not signed. Neither are the channel, the error and the kind of notification.
// The fields may come as a JSON object instead of a form.
//
// https://docs.fiuu.dev/docs/payment-status-notification
var fiuuMolpay = Connector{
	Docs:     "https://docs.fiuu.dev/docs/payment-status-notification",
	Signs:    "MD5 of the fields of the payment and the secret key, hex, in the field skey; of a refund, in the field Signature; a form, or JSON",
	Covers:   CoversFields,
	Weakness: "MD5, no HMAC; where tranID ends and orderid begins is not signed; channel, error_code and others are not signed; no timestamp to judge by",
	Verify:   fiuuMolpayVerify,
}

var (
	fiuuMolpayPayment = formHash{field: "skey", decode: hex.DecodeString, want: fiuuMolpayPaymentWant}
	fiuuMolpayRefund  = formHash{field: "Signature", decode: hex.DecodeString, want: fiuuMolpayRefundWant}
)

func fiuuMolpayVerify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	sent := r.Body
	if len(sent) > 0 && sent[0] == '{' {
		var fields map[string]text
		if err := decodeJSON(sent, &fields); err != nil {
			return Verified{}, err
		}
		values := url.Values{}
		for name, value := range fields {
			values.Set(name, string(value))
		}
		r.Body = []byte(values.Encode())
	}
	f, err := r.form()
	if err != nil {
		return Verified{}, err
	}
	scheme := fiuuMolpayPayment
	if _, payment := f["skey"]; !payment && f["Signature"] != "" {
		scheme = fiuuMolpayRefund
	}
	v, err := scheme.verify(r, secret, k, now)
	if err == nil {
		v.Payload = sent
	}
	return v, err
}

func fiuuMolpayPaymentWant(f form, secret string, _ Keys) ([]byte, error) {
	inner := digest(md5.New, f.join("", "tranID", "orderid", "status", "domain", "amount", "currency"))
	return digest(md5.New, fmt.Sprintf("%s%x%s%s", f.join("", "paydate", "domain"), inner, f["appcode"], secret)), nil
}

func fiuuMolpayRefundWant(f form, secret string, _ Keys) ([]byte, error) {
	return digest(md5.New, f.join("", "RefundType", "MerchantID", "RefID", "RefundID", "TxnID", "Amount", "Status")+secret), nil
}
