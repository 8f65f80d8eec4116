package verify

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// robokassa hashes "OutSum:InvId:<password #2>", followed by ":<name>=<value>" for each of the
// merchant's own fields (Shp_...), sorted by name. The field SignatureValue has the hash in
// hex, in either case. The algorithm is MD5, unless the shop's settings at Robokassa have
// another.
//
// One field whose value contains ":Shp_b=" has the same text as two fields. So a setting
// lists the fields that the shop sends, and a value that contains the name of one of them in
// this way is refused.
//
// The fee, the payer's e-mail address and the payment method are not signed. Test payments
// are signed with the shop's test passwords, so an endpoint with the live password refuses
// them. The shop's settings must choose notifications by POST.
//
// https://docs.robokassa.ru/ru/notifications-and-redirects
var robokassa = Connector{
	Docs:     "https://docs.robokassa.ru/ru/notifications-and-redirects",
	Signs:    `MD5 (or the setting's) of "OutSum:InvId:<password #2>:Shp_...", hex, in the field SignatureValue`,
	Covers:   CoversFields,
	Weakness: "a plain hash, MD5 by default; a form is refused where the value of one of the merchant's own fields has another's name in it; fee, e-mail and payment method are not signed; no timestamp",
	Settings: []Setting{hashSetting, robokassaOwn},
	check:    robokassaCheck,
	verify:   robokassaJoined.verify,
	joined:   []joinedScheme{robokassaJoined},
}

var robokassaJoined = joinedScheme{
	read:     inForm("SignatureValue", hex.DecodeString),
	messages: robokassaMessages,
	needs:    []Setting{robokassaOwn},
}

var robokassaOwn = Setting{Name: "signed_fields", Endpoint: true, Description: `the fields of its own (Shp_...) that the shop sends with a payment, as a list in JSON, such as ["Shp_order_id"]; [] if it sends none`}

func robokassaCheck(_ string, k Keys) error {
	if _, err := k.hash(nil); err != nil {
		return err
	}
	_, err := k.list(robokassaOwn)
	return err
}

func robokassaMessages(_ Request, f form, k Keys) ([]message, error) {
	h, err := k.hash(md5.New)
	if err != nil {
		return nil, err
	}
	parts := separated(":", field("OutSum", decimal(0, 8)), field("InvId", numeric(1, 19)), keyPart)
	var own []string
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if strings.HasPrefix(strings.ToLower(name), "shp") {
			own = append(own, name)
			parts = append(parts, literal(":"+name+"="), field(name, robokassaValue))
		}
	}
	return []message{{hash: h, parts: parts, extraCheck: func(_ form, k Keys) error {
		want, err := k.list(robokassaOwn)
		slices.Sort(want)
		if err != nil || k.Settings[robokassaOwn.Name] == "" || len(own) == 0 || slices.Equal(own, want) {
			return err
		}
		return fmt.Errorf("%w: the form has the merchant's own fields %q, want those of the setting %s: %q", ErrField, own, robokassaOwn.Name, want)
	}}}, nil
}

// robokassaValue is the format of the merchant's own fields.
var robokassaValue = format{want: "up to 2048 bytes without NUL", max: 2048, char: anyText.char}
