package schemas_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// byEncoder returns an event as encoding/json encodes it.
func byEncoder(t testing.TB, e schemas.Event) string {
	t.Helper()
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func checkEncode(t testing.TB, what string, e schemas.Event) {
	t.Helper()
	got, err := e.Encode()
	if want := byEncoder(t, e); err != nil || string(got) != want {
		t.Errorf("%s: got %s, error %v\nwant %s", what, got, err, want)
	}
}

// fill sets a field, and all fields in it, to values that are not zero.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("text of " + v.Type().Name())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int64:
		v.SetInt(-1099)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	default:
		t.Fatalf("%s: the test has no value for it", v.Type())
	}
}

// TestEncode compares Encode with encoding/json: for events with no field, with one field,
// and with all.
func TestEncode(t *testing.T) {
	checkEncode(t, "no field", schemas.Event{})
	var one func(name string, e *schemas.Event, v reflect.Value)
	one = func(name string, e *schemas.Event, v reflect.Value) {
		for i := range v.NumField() {
			field, name := v.Field(i), name+"."+v.Type().Field(i).Name
			fill(t, field)
			checkEncode(t, name, *e)
			if field.Kind() == reflect.Pointer && field.Elem().Kind() == reflect.Struct && field.Type() != reflect.TypeFor[*time.Time]() {
				field.Elem().SetZero()
				checkEncode(t, "empty "+name, *e)
				one(name, e, field.Elem())
			}
			field.SetZero()
		}
	}
	var e schemas.Event
	one("Event", &e, reflect.ValueOf(&e).Elem())
	one("Data", &e, reflect.ValueOf(&e.Data).Elem())
	fill(t, reflect.ValueOf(&e).Elem())
	checkEncode(t, "all fields", e)
	e.Time = e.Time.In(time.FixedZone("", -5*3600))
	checkEncode(t, "another time zone", e)
	e.Data.RespondBy = new(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))
	if got, err := e.Encode(); err == nil {
		t.Errorf("a time in the year 10000: got %s, want an error", got)
	}
}

// FuzzEncode compares the texts of Encode with those of encoding/json.
func FuzzEncode(f *testing.F) {
	for _, s := range []string{"", "order-43", `"\/`, "<&>\u2028\u2029", "\x00\x1f\x7f\n\r\t\b\f", "é€😀", "\xff\xed\xa0\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		checkEncode(t, s, schemas.Event{Subject: s, Data: schemas.Data{ConnectorReferences: []string{s, s}, Error: &schemas.Error{Message: s}}})
	})
}

func BenchmarkRecord(b *testing.B) {
	e := full(schemas.PaymentCaptured)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Record("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"); err != nil {
			b.Fatal(err)
		}
	}
}
