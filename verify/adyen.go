package verify

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"
)

// adyen puts a signature into each item of the body: base64 of the HMAC-SHA256,
// under the bytes that the hex key stands for, of eight of the item's fields
// joined by ":" and not escaped. A batch is good if every item is; an empty
// one, which nobody signed, is malformed. Because nothing is escaped, a ":" in a
// field other than merchantReference could be the trace of somebody who moved
// text from one field to its neighbour: an item that an event is made of is
// refused for it. Reports, whose file name is their pspReference, and other
// items without an event can have it. A webhook of the method "HTTP POST" is one
// item as a form, its additionalData spelled out as additionalData.hmacSignature
// and so on.
//
// Nothing else is signed. Whoever has seen one signed item can send it again
// with another eventDate, reason, paymentMethod, live or additionalData: a
// refused payment never becomes a good one, but a chargeback that was lost can
// be made to look won (disputeStatus), and a cancellation like a refund
// (modification.action). The test and the live platform have keys of their own,
// so that live is as good as the key. Basic authentication or an allow-list in
// front of the endpoint keeps strangers from trying.
//
// merchantAccountCode is signed, and a setting says which are the endpoint's. It is
// optional: each webhook that is configured at Adyen has an HMAC key of its own, so
// that a signature is good at one endpoint only; Adyen recommends one webhook for a
// whole company, and an account that is added there would be refused until it is
// listed, with all webhooks that queue behind its first one.
//
// https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures
// https://docs.adyen.com/development-resources/webhooks/understand-notifications
// https://docs.adyen.com/development-resources/webhooks/configure-and-manage
var adyen = Connector{
	Docs: "https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures",
	Signs: "HMAC-SHA256 (hex key) of pspReference:originalReference:merchantAccountCode:merchantReference:value:currency:eventCode:success, " +
		"base64, in each item's additionalData.hmacSignature",
	Covers: CoversFields,
	Weakness: "additionalData (disputeStatus, modification.action, mandates), eventDate, reason, paymentMethod and live are not signed, nor is the time: " +
		"a captured item can be replayed with others; put basic authentication or an allow-list in front",
	Settings: []Setting{adyenAccounts},
	check:    adyenCheck,
	verify:   adyenVerify,
}

var adyenAccounts = Setting{
	Name: "merchant_accounts",
	Description: `the merchant accounts of the endpoint, as a list in JSON, such as ["ShopEU", "ShopUS"]: webhooks about payments of others are refused. ` +
		"Without it those of all accounts are accepted whose webhook has the HMAC key. Where it is set, list a new account before it takes payments: Adyen sends no further webhook while one is refused",
}

func adyenCheck(secret string, k Keys) error {
	if _, err := k.list(adyenAccounts); err != nil {
		return err
	}
	return checkHexKey(secret, k)
}

// adyenItem is what is signed of an item, and the signature.
type adyenItem struct {
	PspReference        text `json:"pspReference"`
	OriginalReference   text `json:"originalReference"`
	MerchantAccountCode text `json:"merchantAccountCode"`
	MerchantReference   text `json:"merchantReference"`
	Amount              struct {
		Value    text `json:"value"`
		Currency text `json:"currency"`
	} `json:"amount"`
	EventCode      text `json:"eventCode"`
	Success        text `json:"success"`
	AdditionalData struct {
		Signature string `json:"hmacSignature"`
	} `json:"additionalData"`
}

func adyenVerify(r Request, secret string, k Keys, _ time.Time) (Verified, error) {
	key, err := hexKey(secret)
	if err != nil {
		return Verified{}, err
	}
	accounts, err := k.list(adyenAccounts)
	if err != nil {
		return Verified{}, err
	}
	items, err := adyenItems(r)
	if err != nil {
		return Verified{}, err
	}
	for n, i := range items {
		if err := i.verify(key, accounts); err != nil {
			return Verified{}, fmt.Errorf("item %d: %w", n, err)
		}
	}
	return Verified{Payload: r.Body}, nil
}

func adyenItems(r Request) (items []adyenItem, err error) {
	if !bytes.HasPrefix(bytes.TrimLeft(r.Body, " \t\r\n"), []byte("{")) {
		return adyenForm(r)
	}
	var body struct {
		Items []struct {
			Item adyenItem `json:"NotificationRequestItem"`
		} `json:"notificationItems"`
	}
	if err := decodeJSON(r.Body, &body); err != nil {
		return nil, err
	}
	if len(body.Items) == 0 {
		return nil, fmt.Errorf("%w: the body has no notificationItems", ErrMalformed)
	}
	for _, i := range body.Items {
		items = append(items, i.Item)
	}
	return items, nil
}

func adyenForm(r Request) ([]adyenItem, error) {
	f, err := r.form()
	if err != nil {
		return nil, err
	}
	if f["pspReference"] == "" {
		return nil, fmt.Errorf("%w: neither JSON nor a form with pspReference", ErrMalformed)
	}
	i := adyenItem{
		PspReference: text(f["pspReference"]), OriginalReference: text(f["originalReference"]),
		MerchantAccountCode: text(f["merchantAccountCode"]), MerchantReference: text(f["merchantReference"]),
		EventCode: text(f["eventCode"]), Success: text(f["success"]),
	}
	i.Amount.Value, i.Amount.Currency = text(f["value"]), text(f["currency"])
	i.AdditionalData.Signature = f["additionalData.hmacSignature"]
	return []adyenItem{i}, nil
}

// adyenMessage is what is signed of an item.
var adyenMessage = message{hash: sha256.New, hmac: true, parts: separated(":",
	field("pspReference", adyenWord),
	field("originalReference", adyenWord),
	field("merchantAccountCode", adyenWord),
	field("merchantReference", free),
	field("value", adyenWord),
	field("currency", adyenWord),
	field("eventCode", adyenWord),
	field("success", adyenWord),
)}

var adyenWord = id(80).without(':').orEmpty()

// adyenEventCodes are the eventCodes that events are made of: those of the connector
// in package normalize, which a test of package webhook compares. What is signed ends
// in the eventCode and success, so that no other split has another code: an item with
// any other code becomes no event, whatever its fields are.
var adyenEventCodes = func() map[string]bool {
	m := map[string]bool{}
	for code := range strings.FieldsSeq(`
		AUTHORISATION AUTHORISATION_ADJUSTMENT CANCELLATION CANCEL_OR_REFUND CAPTURE CAPTURE_FAILED CHARGEBACK CHARGEBACK_REVERSED
		DISPUTE_DEFENSE_PERIOD_ENDED DISPUTE_OPENED_WITH_CHARGEBACK EXPIRE INFORMATION_SUPPLIED ISSUER_RESPONSE_TIMEFRAME_EXPIRED
		MANUAL_REVIEW_ACCEPT MANUAL_REVIEW_REJECT NOTIFICATION_OF_CHARGEBACK NOTIFICATION_OF_FRAUD OFFER_CLOSED PAIDOUT_REVERSED
		PAYOUT_DECLINE PAYOUT_EXPIRE PAYOUT_THIRDPARTY PENDING POSTPONED_REFUND PREARBITRATION_ACCEPTED PREARBITRATION_DECLINED
		PREARBITRATION_ISSUER_WITHDRAWN PREARBITRATION_LOST PREARBITRATION_OPEN PREARBITRATION_WON RECURRING_CONTRACT REFUND
		REFUNDED_REVERSED REFUND_FAILED REFUND_WITH_DATA REQUEST_FOR_INFORMATION REVERSAL SCHEME_ARBITRATION SCHEME_ARBITRATION_LOST
		SCHEME_ARBITRATION_WON SECOND_CHARGEBACK TECHNICAL_CANCEL VOID_PENDING_REFUND`) {
		m[code] = true
	}
	return m
}()

// verify verifies the item. Unless accounts is empty, its merchant account must be one of them.
func (i adyenItem) verify(key []byte, accounts []string) error {
	f := form{
		"pspReference": string(i.PspReference), "originalReference": string(i.OriginalReference),
		"merchantAccountCode": string(i.MerchantAccountCode), "merchantReference": string(i.MerchantReference),
		"value": string(i.Amount.Value), "currency": string(i.Amount.Currency),
		"eventCode": string(i.EventCode), "success": string(i.Success),
		"hmacSignature": i.AdditionalData.Signature,
	}
	signature, err := f.signature("hmacSignature", base64.StdEncoding.Strict().DecodeString)
	if err != nil {
		return err
	}
	if !hmac.Equal(signature, adyenMessage.signature(f, string(key))) {
		return ErrMismatch
	}
	if !adyenEventCodes[f["eventCode"]] && adyenWord.of(f["eventCode"]) && adyenWord.of(f["success"]) {
		return nil
	}
	if err := adyenMessage.check(f, Keys{}, nil); err != nil {
		return err
	}
	if account := f["merchantAccountCode"]; len(accounts) > 0 && !slices.Contains(accounts, account) {
		return fmt.Errorf("%w: merchantAccountCode is %s, want one of the setting %s", ErrAccount, quoted(account), adyenAccounts.Name)
	}
	return nil
}
