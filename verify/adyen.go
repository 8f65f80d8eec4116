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

// adyen signs each item of the body: the base64 of an HMAC-SHA256 of eight of the item's
// fields, joined by ":" and not escaped. The key is issued as hex. A batch is verified only
// if every item is. An empty batch has no signature and is malformed. Because nothing is
// escaped, a ":" in a field other than merchantReference may come from an attacker who
// moved text from one field to the next: if the item becomes an event, it is refused.
// Reports, whose pspReference is a file name, and other items that become no event may
// have a ":". A webhook of the method "HTTP POST" is one item as a form, with field names
// such as additionalData.hmacSignature.
//
// Nothing else is signed. Anyone who captured a signed item can send it with another
// eventDate, reason, paymentMethod, live or additionalData. This never makes a refused
// payment look authorised, but it can make a lost chargeback look won (disputeStatus), and
// a cancellation look like a refund (modification.action). The test and the live platform
// use different keys, so the key proves the value of live. Basic authentication or an IP
// allow-list in front of the endpoint keeps attackers out.
//
// merchantAccountCode is signed, and an optional setting lists the endpoint's accounts.
// Without the setting, the key still protects the endpoint: each webhook that is configured
// at Adyen has its own HMAC key. Adyen recommends one webhook for a whole company. If the
// setting is used, webhooks of a new account are refused until it is listed, and Adyen
// queues all further webhooks behind the first of them.
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

// adyenItem has the signed fields of an item and its signature.
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

// adyenMessage is the message that an item is signed as.
var adyenMessage = message{hash: sha256.New, hmac: true, parts: separated(":",
	field("pspReference", adyenWord),
	field("originalReference", adyenWord),
	field("merchantAccountCode", adyenWord),
	field("merchantReference", anyText),
	field("value", adyenWord),
	field("currency", adyenWord),
	field("eventCode", adyenWord),
	field("success", adyenWord),
)}

var adyenWord = id(80).without(':').orEmpty()

// adyenEventCodes are the eventCodes of items that become events. A test of package webhook
// compares them with the connector in package normalize. The signed text ends in the
// eventCode and success, so that every split has the same code: an item with any other code
// becomes no event, however its text is split.
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

// verify verifies the item. If accounts is not empty, the item must be of one of them.
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
	if !adyenEventCodes[f["eventCode"]] && adyenWord.matches(f["eventCode"]) && adyenWord.matches(f["success"]) {
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
