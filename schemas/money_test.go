package schemas_test

import (
	"errors"
	"math"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"testing/quick"

	"github.com/moov-io/iso4217"

	"github.com/tollbridge/tollbridge/schemas"
)

func TestMajor(t *testing.T) {
	for _, c := range []struct {
		decimal, currency string
		value             int64
		code              string
	}{
		{"10.50", "EUR", 1050, "EUR"},
		{"10.5", "eur", 1050, "EUR"},
		{"10", "EUR", 1000, "EUR"},
		{"010", "EUR", 1000, "EUR"},
		{"0.05", "EUR", 5, "EUR"},
		{"0", "EUR", 0, "EUR"},
		{"-0.00", "EUR", 0, "EUR"},
		{"-10.50", "EUR", -1050, "EUR"},
		{"-0.05", "EUR", -5, "EUR"},
		{"+10.50", "EUR", 1050, "EUR"},
		{"10.500000", "EUR", 1050, "EUR"},
		{"1099", "JPY", 1099, "JPY"},
		{"1099.00", "JPY", 1099, "JPY"},
		{"1.234", "KWD", 1234, "KWD"},
		{"1.2345", "CLF", 12345, "CLF"},
		{"10.00", "", 1000, "XXX"},
		{"10.00", "XXX", 1000, "XXX"},
		{"10", "", 10, "XXX"},
		{"92233720368547758.07", "EUR", math.MaxInt64, "EUR"},
		{"-92233720368547758.07", "EUR", -math.MaxInt64, "EUR"},
	} {
		got, err := schemas.Major(c.decimal, c.currency)
		if want := (schemas.Amount{Value: c.value, Currency: c.code}); err != nil || got != want {
			t.Errorf("Major(%q, %q) = %v, %v, want %v", c.decimal, c.currency, got, err, want)
		}
	}
}

func TestMajorRefuses(t *testing.T) {
	for _, c := range []struct{ decimal, currency, says string }{
		{"10.505", "EUR", "more decimals"},
		{"0.5", "JPY", "more decimals"},
		{"", "EUR", "not a decimal number"},
		{"-", "EUR", "not a decimal number"},
		{"+", "", "not a decimal number"},
		{".5", "EUR", "not a decimal number"},
		{"-.5", "EUR", "not a decimal number"},
		{"5.", "EUR", "not a decimal number"},
		{".", "EUR", "not a decimal number"},
		{"-+5", "EUR", "not a decimal number"},
		{"1.-5", "EUR", "not a decimal number"},
		{"1.5.0", "EUR", "not a decimal number"},
		{"1,50", "EUR", "not a decimal number"},
		{"1 000", "EUR", "not a decimal number"},
		{"1_000", "EUR", "not a decimal number"},
		{" 1", "EUR", "not a decimal number"},
		{"1e3", "EUR", "not a decimal number"},
		{"0x10", "EUR", "not a decimal number"},
		{"٣", "EUR", "not a decimal number"},
		{"NaN", "EUR", "not a decimal number"},
		{"92233720368547758.08", "EUR", "too large"},
		{"-92233720368547758.08", "EUR", "too large"}, // fits, but cannot be negated
		{"9223372036854775807", "EUR", "too large"},
		{"1.00000000000000000000", "", "too large"},
		{"1", "ABC", "number of decimals of this currency is not known"},
		{"1", "EURO", "three-letter code"},
		{"1", "E1R", "three-letter code"},
		{"1", "€", "three-letter code"}, // three bytes
		{"1", "ıNR", "three-letter code"},
		{"1", "uſd", "three-letter code"}, // strings.ToUpper makes it USD
	} {
		got, err := schemas.Major(c.decimal, c.currency)
		refused(t, got, err, c.says, "Major(%q, %q)", c.decimal, c.currency)
	}
}

func TestMinor(t *testing.T) {
	theirs := map[string]int{"ISK": 2, "MGA": 0, "KWD": 2, "XXX": 4, "ABC": 2}
	for _, c := range []struct {
		value    int64
		currency string
		want     int64
		code     string
	}{
		{1099, "EUR", 1099, "EUR"},
		{-1099, "eur", -1099, "EUR"},
		{1099, "JPY", 1099, "JPY"},
		{500, "ISK", 5, "ISK"}, // theirs has more decimals
		{-500, "isk", -5, "ISK"},
		{0, "ISK", 0, "ISK"},
		{5, "MGA", 500, "MGA"}, // theirs has fewer
		{-5, "MGA", -500, "MGA"},
		{150, "KWD", 1500, "KWD"},
		{math.MaxInt64 / 10, "KWD", math.MaxInt64 / 10 * 10, "KWD"},
		{-(math.MaxInt64 / 10), "KWD", -(math.MaxInt64 / 10 * 10), "KWD"},
		{1099, "", 1099, "XXX"},
		{1099, "XXX", 1099, "XXX"}, // without a currency, theirs does not apply
		{1099, "BTC", 1099, "BTC"}, // an unknown currency that theirs does not have
		{math.MaxInt64, "EUR", math.MaxInt64, "EUR"},
	} {
		got, err := schemas.Minor(c.value, c.currency, theirs)
		if want := (schemas.Amount{Value: c.want, Currency: c.code}); err != nil || got != want {
			t.Errorf("Minor(%d, %q) = %v, %v, want %v", c.value, c.currency, got, err, want)
		}
	}
	for _, c := range []struct {
		value          int64
		currency, says string
	}{
		{550, "ISK", "more decimals"},
		{1, "ISK", "more decimals"},
		{math.MaxInt64/10 + 1, "KWD", "too large"},
		{-math.MaxInt64/10 - 1, "KWD", "too large"},
		{math.MaxInt64 / 10, "MGA", "too large"}, // at the second step
		{math.MinInt64, "EUR", "too large"},      // it cannot be negated
		{1, "ABC", "number of decimals of this currency is not known"},
		{1, "EU", "three-letter code"},
	} {
		got, err := schemas.Minor(c.value, c.currency, theirs)
		refused(t, got, err, c.says, "Minor(%d, %q)", c.value, c.currency)
	}
}

func refused(t *testing.T, got schemas.Amount, err error, says, call string, args ...any) {
	t.Helper()
	if !errors.Is(err, schemas.ErrAmount) || !strings.Contains(err.Error(), says) || got != (schemas.Amount{}) {
		t.Errorf(call+" = %v, %v, want no amount and an error that says %q", append(args, got, err, says)...)
	}
}

func TestAbs(t *testing.T) {
	for value, want := range map[int64]int64{5: 5, -5: 5, 0: 0, -math.MaxInt64: math.MaxInt64} {
		if got := (schemas.Amount{Value: value, Currency: "EUR"}).Abs(); got.Value != want || got.Currency != "EUR" {
			t.Errorf("Abs of %d is %v, want %d EUR", value, got, want)
		}
	}
}

// TestMajorReadsMinor: an amount written as decimal text is read back as it was.
func TestMajorReadsMinor(t *testing.T) {
	for _, currency := range []string{"JPY", "EUR", "KWD", "CLF"} {
		exponent, _ := schemas.Exponent(currency)
		same := func(value int64) bool {
			want, err := schemas.Minor(value, currency, nil)
			if err != nil {
				return value == math.MinInt64
			}
			got, err := schemas.Major(text(value, exponent), currency)
			return err == nil && got == want
		}
		if err := quick.Check(same, nil); err != nil {
			t.Errorf("%s: %v", currency, err)
		}
		for _, value := range []int64{0, 1, -1, 9, 10, -10, 100, math.MaxInt64, math.MinInt64} {
			if !same(value) {
				t.Errorf("%s: %d is not read back from %q", currency, value, text(value, exponent))
			}
		}
	}
}

// text returns minor units as text in major units: (-5, 2) is "-0.05".
func text(value int64, exponent int) string {
	return new(big.Rat).SetFrac(big.NewInt(value), power(exponent)).FloatString(exponent)
}

// power returns ten to the power of the exponent.
func power(exponent int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(exponent)), nil)
}

// FuzzMajor compares Major with arithmetic that cannot overflow or round.
func FuzzMajor(f *testing.F) {
	for _, decimal := range []string{"10.50", "-0.05", "+1", "1.", ".5", "-", "1e3", "92233720368547758.08", "0.000", "1/2", "1_0"} {
		for _, currency := range []string{"EUR", "JPY", "kwd", "", "ABC"} {
			f.Add(decimal, currency)
		}
	}
	number := regexp.MustCompile(`^[+-]?[0-9]+(\.[0-9]+)?$`)
	f.Fuzz(func(t *testing.T, decimal, currency string) {
		got, err := schemas.Major(decimal, currency)
		if err != nil && (got != (schemas.Amount{}) || !errors.Is(err, schemas.ErrAmount)) {
			t.Fatalf("Major(%q, %q) = %v with the error %v", decimal, currency, got, err)
		}
		exponent, known := schemas.Exponent(currency)
		if currency == "" || strings.EqualFold(currency, schemas.NoCurrency) {
			_, fraction, _ := strings.Cut(decimal, ".")
			exponent, known = len(fraction), true
		}
		if !known || exponent > 1000 || !number.MatchString(decimal) {
			if err == nil && exponent <= 1000 {
				t.Fatalf("Major(%q, %q) = %v, want an error", decimal, currency, got)
			}
			return
		}
		exact, _ := new(big.Rat).SetString(decimal)
		exact.Mul(exact, new(big.Rat).SetInt(power(exponent)))
		fits := exact.IsInt() && exact.Num().IsInt64() && exact.Num().Int64() != math.MinInt64
		switch {
		case fits != (err == nil):
			t.Fatalf("Major(%q, %q): error %v, want %s", decimal, currency, err, exact)
		case fits && got.Value != exact.Num().Int64():
			t.Fatalf("Major(%q, %q) = %d, want %s", decimal, currency, got.Value, exact.Num())
		}
	})
}

// TestCurrencies compares the table with another one made from ISO's list,
// every three letters there are, in both directions. (CLDR would not do: its
// digits are those that people write, so it has none for IQD or KPW.)
func TestCurrencies(t *testing.T) {
	withoutMinorUnit := " XAG XAU XBA XBB XBC XBD XDR XPD XPT XSU XTS XUA XXX " // metals, units of account, testing, none
	lacking := " RUR SLE VED XAD XCG ZWG "                                      // from the other table, which is of July 2023
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for _, a := range letters {
		for _, b := range letters {
			for _, c := range letters {
				code := string([]rune{a, b, c})
				got, ours := schemas.Exponent(code)
				iso, theirs := iso4217.Lookup(code)
				theirs = theirs && !strings.Contains(withoutMinorUnit, " "+code+" ")
				switch {
				case ours && theirs && got != int(iso.DecimalPlaces):
					t.Errorf("%s has %d decimals, want %d", code, got, iso.DecimalPlaces)
				case theirs && !ours:
					t.Errorf("%s (%s, %d decimals) is missing", code, iso.Name, iso.DecimalPlaces)
				case ours && !theirs && !strings.Contains(lacking, " "+code+" "):
					t.Errorf("%s is not a currency of ISO 4217", code)
				}
			}
		}
	}
}

func TestCurrenciesAsWritten(t *testing.T) {
	seen := map[string]bool{}
	for exponent, codes := range schemas.Decimals {
		for code := range strings.FieldsSeq(codes) {
			if len(code) != 3 || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
				t.Errorf("%q, with %d decimals, is not three capital letters", code, exponent)
			}
			if seen[code] {
				t.Errorf("%s is in the table twice", code)
			}
			seen[code] = true
		}
	}
}
