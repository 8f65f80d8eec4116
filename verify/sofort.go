package verify

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"slices"
)

// sofort hashes all that it knows of a transfer, joined by "|", with the
// project's notification password behind it: the field hash, hex. The project
// chooses the algorithm; SHA-1 unless it says otherwise. The status and its
// time, which newer projects have, are signed where they are sent. The
// addresses email_sender and email_recipient are not.
//
// Names, banks and reasons are the payer's and can have a "|" of their own. A
// form is refused for that only if the text can be read so that another
// transfer, amount, reference or status stands in it.
//
// https://www.sofort.com/integrationCenter-eng-DE/content/view/full/2513/
var sofort = Connector{
	Docs:     "https://www.sofort.com/integrationCenter-eng-DE/content/view/full/2513/",
	Signs:    "SHA-1 (or the setting's) of the fields joined by | and the notification password, hex, in the field hash",
	Covers:   CoversFields,
	Weakness: `a plain hash, SHA-1 by default; email_sender and email_recipient are not signed; a form is refused where a "|" in a text of the payer's could be the end of another field; no timestamp to judge by`,
	Settings: []Setting{hashSetting, sofortSigned, sofortProject},
	check:    sofortCheck,
	verify:   sofortJoined.verify,
	joined:   []joined{sofortJoined},
}

var sofortJoined = joined{
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

// sofortNames is the fields that are signed.
func sofortNames(k Keys) ([]string, error) {
	if k.Settings[sofortSigned.Name] == "" {
		return sofortFields, nil
	}
	return k.list(sofortSigned)
}

// sofortFormats are the forms of what an event is made of, and of what keeps it
// in its place.
var sofortFormats = map[string]part{
	"transaction":               field("transaction", id(64).without('|')),
	"user_id":                   idleField("user_id", numeric(1, 20)),
	"project_id":                account("project_id", sofortProject, numeric(1, 20)),
	"international_transaction": idleField("international_transaction", numeric(1, 1).orEmpty()),
	"amount":                    field("amount", decimal(2, 2)),
	"currency_id":               field("currency_id", currency),
	"security_criteria":         idleField("security_criteria", numeric(1, 1)),
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
			p = idleField(name, free)
		}
		parts = append(parts, p)
	}
	return []message{{hash: h, parts: separated("|", append(parts, keyPart)...)}}, nil
}
