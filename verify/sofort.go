package verify

import (
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// sofort hashes all that it knows of a transfer, joined by "|", with the
// project's notification password behind it: the field hash, hex. The project
// chooses the algorithm; SHA-1 unless it says otherwise. The status and its
// time, which newer projects have, are signed where they are sent. The
// addresses email_sender and email_recipient are not.
//
// https://www.sofort.com/integrationCenter-eng-DE/content/view/full/2513/
var sofort = Connector{
	Docs:     "https://www.sofort.com/integrationCenter-eng-DE/content/view/full/2513/",
	Signs:    "SHA-1 (or the setting's) of the fields joined by | and the notification password, hex, in the field hash",
	Covers:   CoversFields,
	Weakness: "a plain hash, SHA-1 by default; email_sender and email_recipient are not signed; no timestamp to judge by",
	Settings: []Setting{hashSetting, sofortSigned},
	Check:    sofortCheck,
	Verify:   formHash{field: "hash", decode: hex.DecodeString, want: sofortWant}.verify,
}

var sofortSigned = Setting{Name: "signed_fields", Says: "the fields that the project signs, in their order, as a list in JSON; what it has by default if it is not set"}

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
	list := k.Settings[sofortSigned.Name]
	if list == "" {
		return sofortFields, nil
	}
	var names []string
	if err := json.Unmarshal([]byte(list), &names); err != nil || len(names) == 0 {
		return nil, fmt.Errorf("%w: %q is not a list of names in JSON", ErrSetting, sofortSigned.Name)
	}
	return names, nil
}

func sofortWant(f form, password string, k Keys) ([]byte, error) {
	h, err := k.hash(sha1.New)
	if err != nil {
		return nil, err
	}
	names, err := sofortNames(k)
	if err != nil {
		return nil, err
	}
	text := f.join("|", names...)
	if status, ok := f["status"]; ok && k.Settings[sofortSigned.Name] == "" {
		text += "|" + status + "|" + f["status_modified"]
	} else if ok && !slices.Contains(names, "status") {
		return nil, fmt.Errorf("%w: the form has a status, and %q does not name it", ErrMalformed, sofortSigned.Name)
	}
	if err := f.without("|", append([]string{"status", "status_modified"}, names...)...); err != nil {
		return nil, err
	}
	return digest(h, text+"|"+password), nil
}
