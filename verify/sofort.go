package verify

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"slices"
)

// sofort hashes the fields of a transfer, joined by "|" and followed by the project's
// notification password. The field hash has the hash in hex. The algorithm is SHA-1, unless
// the project's settings at Sofort have another. Newer projects also send the status and
// its time, and sign them. The addresses email_sender and email_recipient are not signed.
//
// Names, banks and reasons are written by the payer and can contain a "|". Such a form is
// refused only if its text can also be split into another transfer, amount, reference or
// status.
//
// https://www.sofort.com/integrationCenter-eng-DE/content/view/full/2513/
var sofort = Connector{
	Docs:     "https://www.sofort.com/integrationCenter-eng-DE/content/view/full/2513/",
	Signs:    "SHA-1 (or the setting's) of the fields joined by | and the notification password, hex, in the field hash",
	Covers:   CoversFields,
	Weakness: `a plain hash, SHA-1 by default; email_sender and email_recipient are not signed; a form is refused where a "|" in a text of the payer's could be the end of another field; no timestamp is checked`,
	Settings: []Setting{hashSetting, sofortSigned, sofortProject},
	check:    sofortCheck,
	verify:   sofortJoined.verify,
	joined:   []joinedScheme{sofortJoined},
}

var sofortJoined = joinedScheme{
	read:     inForm("hash", hex.DecodeString),
	messages: sofortMessages,
	needs:    []Setting{sofortProject},
}

var sofortProject = Setting{Name: "project_id", Description: "the project's id, which is signed; that of others is refused", Endpoint: true}

var sofortSigned = Setting{Name: "signed_fields", Description: "the fields that the project signs, in their order, as a list in JSON; what it has by default if it is not set"}

var sofortFields = []string{
	"transaction", "user_id", "project_id",
	"sender_holder", "sender_account_number", "sender_bank_code", "sender_bank_name", "sender_bank_bic", "sender_iban", "sender_country_id",
	"recipient_holder", "recipient_account_number", "recipient_bank_code", "recipient_bank_name", "recipient_bank_bic", "recipient_iban", "recipient_country_id",
	"international_transaction", "amount", "currency_id", "reason_1", "reason_2", "security_criteria",
	"user_variable_0", "user_variable_1", "user_variable_2", "user_variable_3", "user_variable_4", "user_variable_5",
	"created",
}

func sofortCheck(_ string, k Keys) error {
	if _, err := k.hash(sha1.New); err != nil {
		return err
	}
	_, err := sofortNames(k)
	return err
}

// sofortNames returns the names of the signed fields in their order.
func sofortNames(k Keys) ([]string, error) {
	if k.Settings[sofortSigned.Name] == "" {
		return sofortFields, nil
	}
	return k.list(sofortSigned)
}

// sofortFormats are the fields from which events are made, and other fields whose formats
// make the split unique.
var sofortFormats = map[string]part{
	"transaction":               field("transaction", id(64).without('|')),
	"user_id":                   unusedField("user_id", numeric(1, 20)),
	"project_id":                account("project_id", sofortProject, numeric(1, 20)),
	"international_transaction": unusedField("international_transaction", numeric(1, 1).orEmpty()),
	"amount":                    field("amount", decimal(2, 2)),
	"currency_id":               field("currency_id", currency),
	"security_criteria":         unusedField("security_criteria", numeric(1, 1)),
	"user_variable_0":           field("user_variable_0", id(255).orEmpty()),
	"created":                   field("created", sofortTime),
	"status":                    field("status", pattern("a word", 64, `[a-z_]+`)),
	"status_modified":           field("status_modified", sofortTime),
}

var sofortTime = pattern("a time such as 2026-01-01 11:15:09", 19, `[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}`)

func sofortMessages(_ Request, f form, k Keys) ([]message, error) {
	h, err := k.hash(sha1.New)
	if err != nil {
		return nil, err
	}
	names, err := sofortNames(k)
	if err != nil {
		return nil, err
	}
	if _, ok := f["status"]; ok && k.Settings[sofortSigned.Name] == "" {
		names = append(slices.Clip(names), "status", "status_modified")
	} else if ok && !slices.Contains(names, "status") {
		return nil, fmt.Errorf("%w: the form has a status, and %q does not name it", ErrMalformed, sofortSigned.Name)
	}
	var parts []part
	for _, name := range names {
		p, known := sofortFormats[name]
		if !known {
			p = unusedField(name, anyText)
		}
		parts = append(parts, p)
	}
	return []message{{hash: h, parts: separated("|", append(parts, keyPart)...)}}, nil
}
