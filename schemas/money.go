package schemas

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Amount is money in the minor unit of its currency: {1099, "EUR"} is €10.99,
// {1099, "JPY"} is ¥1099.
type Amount struct {
	Value    int64  `json:"value"`
	Currency string `json:"currency"` // ISO 4217, upper case; see [NoCurrency]
}

// NoCurrency is the code of ISO 4217 for "no currency". An amount has it if the
// processor sent a number without a currency.
const NoCurrency = "XXX"

// ErrAmount is wrapped by every error about money.
var ErrAmount = errors.New("amount")

// decimals lists the currencies of ISO 4217 by their number of decimals:
// https://www.six-group.com/en/products-services/financial-information/market-reference-data/data-standards.html
// (list one, 2026-01-01, and withdrawn codes that payments still use: those withdrawn since 2020, and RUR).
var decimals = []string{
	0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
	2: "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW " +
		"CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HRK HTG HUF " +
		"IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV " +
		"MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB RUR SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS SRD " +
		"SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG ZWL",
	3: "BHD IQD JOD KWD LYD OMR TND",
	4: "CLF UYW",
}

// exponents is the number of decimals by currency.
var exponents = func() map[string]int {
	m := map[string]int{}
	for exponent, codes := range decimals {
		for code := range strings.FieldsSeq(codes) {
			m[code] = exponent
		}
	}
	return m
}()

// Exponent returns the number of decimals of a currency in ISO 4217, and
// whether the currency is known. The code may be in upper or lower case.
func Exponent(currency string) (int, bool) {
	code, _ := code(currency) // after an error it is empty, which is no currency
	e, ok := exponents[code]
	return e, ok
}

// Minor returns an amount that a processor sent in minor units. If the
// processor's minor unit differs from that of ISO 4217, theirs holds its number
// of decimals by currency: Stripe counts ISK in hundredths, so theirs has
// "ISK": 2, and 500 is ISK 5. An amount that would have to be rounded is an
// error that wraps [ErrAmount].
func Minor(value int64, currency string, theirs map[string]int) (Amount, error) {
	code, err := code(currency)
	if err != nil {
		return Amount{}, err
	}
	if value == math.MinInt64 {
		return Amount{}, fmt.Errorf("%w: %d %s is too large", ErrAmount, value, code) // Abs could not negate it
	}
	exponent, ok := theirs[code]
	if !ok || code == NoCurrency {
		return Amount{value, code}, nil
	}
	iso, known := exponents[code]
	if !known {
		return Amount{}, fmt.Errorf("%w: %d %s: the number of decimals of this currency is not known", ErrAmount, value, code)
	}
	sent := value
	for ; exponent > iso; exponent-- {
		if value%10 != 0 {
			return Amount{}, fmt.Errorf("%w: %d %s has more decimals than the currency's %d", ErrAmount, sent, code, iso)
		}
		value /= 10
	}
	for ; exponent < iso; exponent++ {
		if value > math.MaxInt64/10 || value < math.MinInt64/10 {
			return Amount{}, fmt.Errorf("%w: %d %s is too large", ErrAmount, sent, code)
		}
		value *= 10
	}
	return Amount{value, code}, nil
}

// Major returns an amount that a processor sent in major units as decimal text:
// ("10.5", "EUR") is {1050, "EUR"}. The text may have a sign, and zeros beyond
// the currency's decimals; any other digit there is an error, since it would be
// lost. A decimal point needs digits on both sides. Without a currency, the
// amount has the decimals of the text: ("10.00", "") is {1000, "XXX"}. An error
// wraps [ErrAmount].
func Major(decimal, currency string) (Amount, error) {
	code, err := code(currency)
	if err != nil {
		return Amount{}, err
	}
	whole, fraction, dotted := strings.Cut(decimal, ".")
	exponent, known := exponents[code]
	switch {
	case code == NoCurrency:
		exponent = len(fraction)
	case !known:
		return Amount{}, fmt.Errorf("%w: %q %s: the number of decimals of this currency is not known", ErrAmount, decimal, code)
	}
	unsigned, negative := strings.CutPrefix(whole, "-")
	if !negative {
		unsigned = strings.TrimPrefix(whole, "+")
	}
	if !digits(unsigned) || dotted && !digits(fraction) {
		return Amount{}, fmt.Errorf("%w: %q %s is not a decimal number", ErrAmount, decimal, code)
	}
	if len(fraction) > exponent {
		if strings.Trim(fraction[exponent:], "0") != "" {
			return Amount{}, fmt.Errorf("%w: %q %s has more decimals than the currency's %d", ErrAmount, decimal, code, exponent)
		}
		fraction = fraction[:exponent]
	}
	value, err := strconv.ParseInt(whole+fraction+strings.Repeat("0", exponent-len(fraction)), 10, 64)
	if err != nil || value == math.MinInt64 { // Abs could not negate the latter
		return Amount{}, fmt.Errorf("%w: %q %s is too large", ErrAmount, decimal, code)
	}
	return Amount{value, code}, nil
}

// digits reports whether s consists of one or more digits.
func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// Abs returns a without its sign, for processors that send refunds as negative
// amounts. The direction of the money follows from the event's type.
func (a Amount) Abs() Amount {
	if a.Value < 0 {
		a.Value = -a.Value
	}
	return a
}

// code returns the upper-case form of a currency code.
func code(currency string) (string, error) {
	if currency == "" {
		return NoCurrency, nil
	}
	if len(currency) != 3 || strings.Trim(currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
		return "", fmt.Errorf("%w: currency %q is not a three-letter code of ISO 4217", ErrAmount, currency)
	}
	return strings.ToUpper(currency), nil // after the check: some non-ASCII letters have ASCII capitals
}
