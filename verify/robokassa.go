package verify

import (
	"crypto/md5"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
)

// robokassa hashes "OutSum:InvId:<password #2>", and behind it
// ":<name>=<value>" of every field of the merchant's own (Shp_...), sorted by
// name. It is the field SignatureValue, hex in either case. The shop's settings
// choose the algorithm; MD5 unless they say otherwise.
//
// The fee, the payer's address and the way it was paid are not signed. Test
// payments are signed with the shop's test passwords, so that an endpoint with
// the real one refuses them. The notification must be sent by POST, which the
// shop's settings choose too.
//
// https://docs.robokassa.ru/ru/notifications-and-redirects
var robokassa = Connector{
	Docs:     "https://docs.robokassa.ru/ru/notifications-and-redirects",
	Signs:    `MD5 (or the setting's) of "OutSum:InvId:<password #2>:Shp_...", hex, in the field SignatureValue`,
	Covers:   CoversFields,
	Weakness: "a plain hash, MD5 by default; fee, e-mail and payment method are not signed; no timestamp",
	Settings: []Setting{hashSetting},
	Check:    checkHash,
	Verify:   formHash{field: "SignatureValue", decode: hex.DecodeString, want: robokassaWant}.verify,
}

func robokassaWant(f form, password string, k Keys) ([]byte, error) {
	h, err := k.hash(md5.New)
	if err != nil {
		return nil, err
	}
	if err := f.without(":", "OutSum", "InvId"); err != nil {
		return nil, err
	}
	text := f.join(":", "OutSum", "InvId") + ":" + password
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if strings.HasPrefix(strings.ToLower(name), "shp") {
			text += ":" + name + "=" + f[name]
		}
	}
	return digest(h, text), nil
}
