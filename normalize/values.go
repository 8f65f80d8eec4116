package normalize

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// others returns the ids that are neither empty nor the main one, each once.
func others[M, T ~string](main M, ids ...T) (all []string) {
	for _, id := range ids {
		if id := string(id); id != "" && id != string(main) && !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all
}

// distinct returns the types that are not empty, each once, in their order.
func distinct(types ...schemas.Type) (all []schemas.Type) {
	for _, t := range types {
		if t != "" && !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	return all
}

// tellersOf returns a teller for each event type of the tables, sorted by name.
func tellersOf(tables ...map[string]schemas.Type) (all []Teller) {
	facts := map[string][]schemas.Type{}
	for _, table := range tables {
		for event, typ := range table {
			facts[event] = distinct(append(facts[event], typ)...)
		}
	}
	for _, event := range slices.Sorted(maps.Keys(facts)) {
		all = append(all, Teller{Event: event, Facts: facts[event]})
	}
	return all
}

// sentToURL returns the tellers of a processor that sends all of them to the address
// that the merchant configures, without a choice of event types. Their names are
// statuses.
func sentToURL(tellers []Teller) []Teller {
	all := slices.Clone(tellers)
	for i := range all {
		all[i].Subscription = NoSubscription
	}
	return all
}

// first returns the first of the values that is not empty, or "".
func first[T ~string](values ...T) string {
	for _, s := range values {
		if s != "" {
			return string(s)
		}
	}
	return ""
}

// unix returns the time of a Unix timestamp in seconds; 0 is the zero time.
func unix(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// unixOrMilli returns the time of a Unix timestamp in seconds or milliseconds; 0
// is the zero time.
func unixOrMilli(timestamp int64) time.Time {
	if timestamp > 1e11 { // as seconds, this would be the year 5138
		return time.UnixMilli(timestamp).UTC()
	}
	return unix(timestamp)
}

// timestamp reads a time in one of the layouts of package time. Empty text is the
// zero time; any other text is an error that wraps [ErrMalformed].
func timestamp[S ~string](s S, layouts ...string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, string(s)); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: time %q is not of the form %s", ErrMalformed, s, strings.Join(layouts, " or "))
}

// deadline returns a pointer to t, or nil for the zero time.
func deadline(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// minor returns the amount of a value in minor units, or nil for a nil value.
// exponents are the processor's exceptions to ISO 4217; see [schemas.Minor].
// Errors wrap [ErrMalformed].
func minor[C ~string](value *int64, currency C, exponents map[string]int) (*schemas.Amount, error) {
	if value == nil {
		return nil, nil
	}
	a, err := schemas.Minor(*value, string(currency), exponents)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return &a, nil
}

// minorText returns the amount of decimal digits in minor units, or nil for "".
// exponents are as in [minor]. Errors wrap [ErrMalformed].
func minorText[V, C ~string](value V, currency C, exponents map[string]int) (*schemas.Amount, error) {
	if value == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: amount %q is not a whole number of minor units", ErrMalformed, value)
	}
	return minor(&n, currency, exponents)
}

// major returns the amount of decimal text in major units, or nil for ""; see
// [schemas.Major]. Errors wrap [ErrMalformed].
func major[D, C ~string](decimal D, currency C) (*schemas.Amount, error) {
	if decimal == "" {
		return nil, nil
	}
	a, err := schemas.Major(string(decimal), string(currency))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return &a, nil
}

// method returns a payment method of a kind and a brand, both in lower case, or
// nil if the processor sends neither. A card network in place of the kind, such
// as Visa, becomes the brand, and the kind is "card".
func method[K, B ~string](ofKind K, ofBrand B) *schemas.PaymentMethod {
	kind, brand := strings.ToLower(string(ofKind)), strings.ToLower(string(ofBrand))
	switch {
	case cardBrands[kind]:
		kind, brand = "card", kind
	case kind == "" && cardBrands[brand]:
		kind = "card"
	case kind == "":
		return nil
	}
	return &schemas.PaymentMethod{Type: kind, Brand: brand}
}

// cardBrands are the names that processors give card networks, in lower case.
var cardBrands = func() map[string]bool {
	m := map[string]bool{}
	for _, name := range strings.Split("accel,american express,american_express,americanexpress,amex,bcmc,cartasi,carte_bancaire,cartebancaire,cartes bancaires,"+
		"cartes_bancaires,cb,china_union_pay,cup,dankort,diners,diners club,diners_club,dinersclub,discover,eftpos_australia,electron,elo,"+
		"hiper,hipercard,interac,jcb,maestro,mastercard,mastercard_debit,mc,mir,nyce,pulse,rupay,star,troy,uatp,union_pay,unionpay,verve,"+
		"visa,visa electron,visa_debit,visa_electron,visaelectron,vpay", ",") {
		m[name] = true
	}
	return m
}()

// failure returns the reason why something did not succeed, or nil if the
// processor sends none.
func failure[C, M, N ~string](code C, message M, networkCode N) *schemas.Error {
	if code == "" && message == "" && networkCode == "" {
		return nil
	}
	return &schemas.Error{Code: string(code), Message: string(message), NetworkCode: string(networkCode)}
}

// methodOfVariant returns the payment method of an Adyen variant. For a card the
// variant is the network, the network with the kind of card (visastandarddebit)
// or with the wallet (visa_applepay); otherwise it is the method (ideal,
// directdebit_NL).
//
// https://docs.adyen.com/development-resources/paymentmethodvariant
func methodOfVariant[V ~string](variant V) *schemas.PaymentMethod {
	network, wallet, _ := strings.Cut(strings.ToLower(string(variant)), "_")
	for _, brand := range []string{"visa", "mc", "amex", "maestro", "cup", "diners", "discover", "jcb", "elo", "hipercard", "cartebancaire"} {
		if strings.HasPrefix(network, brand) {
			network = brand
		}
	}
	if !cardBrands[network] {
		return method(variant, "")
	}
	return method(cmp.Or(wallet, "card"), network)
}
