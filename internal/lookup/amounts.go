package lookup

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
)

// Amounts are the amounts of a payment in one currency, in minor units, as its events
// report them. An event counts once, as its latest correction has it.
type Amounts struct {
	Currency   string `json:"currency"`
	Authorized int64  `json:"authorized"`
	Captured   int64  `json:"captured"`
	Refunded   int64  `json:"refunded"` // refunds that succeeded and did not fail later, and reversed payments
	Disputed   int64  `json:"disputed"` // disputes that moved money and were not won or withdrawn
	// Left is what the merchant has: captured less refunded and disputed.
	Left int64 `json:"left"`
	// Unclear says why the amounts may be wrong; empty if nothing speaks against them.
	Unclear []string `json:"unclear,omitempty"`
}

// AmountsOf returns the amounts of a payment by currency, from its records.
func AmountsOf(items []*Item) []Amounts {
	objects := map[object][]schemas.Event{}
	for _, e := range Current(items) {
		of := objectOf(e)
		objects[of] = append(objects[of], e)
	}
	s := sums{}
	var order []object
	for of, events := range objects {
		slices.SortStableFunc(events, func(a, b schemas.Event) int { return a.Time.Compare(b.Time) }) // of the same time: as they were written
		order = append(order, of)
	}
	slices.SortFunc(order, func(a, b object) int { return cmp.Or(cmp.Compare(a.family, b.family), cmp.Compare(a.id, b.id)) })
	for _, of := range order {
		switch of.family {
		case "payment":
			s.addPayment(objects[of])
		case "refund":
			s.addRefund(objects[of])
		case refundsWithoutID:
			s.addRefundsWithoutID(objects[of])
		case "dispute":
			s.addDispute(objects[of])
		}
	}
	all := []Amounts{}
	for _, currency := range slices.Sorted(maps.Keys(s)) {
		a := s[currency]
		a.Left = sum(a.Captured, -a.Refunded, -a.Disputed)
		if currency == schemas.NoCurrency {
			a.unclear("the processor sends no currency")
		}
		all = append(all, *a)
	}
	return all
}

// Current returns the events among the records, each once, as its latest correction has
// it and in the order in which they were first written.
func Current(items []*Item) []schemas.Event {
	var order []string
	latest := map[string]schemas.Event{}
	for _, i := range items {
		if i.Event == nil {
			continue
		}
		origin := cmp.Or(i.Event.Data.Corrects, i.Event.ID)
		if _, known := latest[origin]; !known {
			order = append(order, origin)
		} else if i.Event.Data.Corrects == "" {
			continue // the same event again, or an event that was read after its correction
		}
		latest[origin] = *i.Event
	}
	all := make([]schemas.Event, len(order))
	for n, origin := range order {
		all[n] = latest[origin]
	}
	return all
}

// object is what an event is about: a payment, a refund, all refunds of a payment that
// have no id, or a dispute.
type object struct{ family, id string }

// refundsWithoutID is the family of the object of all refunds of a payment that have no id.
const refundsWithoutID = "refunds without an id"

// objectOf returns what an event is about. A payment without the processor's id is the
// one that the merchant's id names; the id of a refund can be unique for its payment only.
func objectOf(e schemas.Event) object {
	d, family := e.Data, e.Type.Family()
	payment := cmp.Or(d.ConnectorTransactionID, e.Subject)
	id := ""
	switch family {
	case "payment":
		id = payment
	case "refund":
		if id = cmp.Or(d.ConnectorRefundID, d.MerchantRefundID); id == "" {
			family, id = refundsWithoutID, payment
		}
	case "dispute":
		id = cmp.Or(d.ConnectorDisputeID, e.ID)
	}
	return object{family, strings.Join([]string{d.Connector, d.Account, id}, ":")}
}

// sums are the amounts so far, by currency.
type sums map[string]*Amounts

// movements are several captures or refunds of one currency.
type movements struct {
	n         int
	sum, most int64 // of their amounts
}

func (m *movements) add(value int64) {
	m.n++
	m.sum, m.most = sum(m.sum, value), max(m.most, value)
}

// entry returns the value of a currency, which it adds if there is none.
func entry[T any](m map[string]*T, currency string) *T {
	if m[currency] == nil {
		m[currency] = new(T)
	}
	return m[currency]
}

func (s sums) of(currency string) *Amounts {
	if s[currency] == nil {
		s[currency] = &Amounts{Currency: currency}
	}
	return s[currency]
}

func (a *Amounts) unclear(why string) {
	if !slices.Contains(a.Unclear, why) {
		a.Unclear = append(a.Unclear, why)
	}
}

// sum adds amounts. The result is at most the largest and at least the smallest int64.
func sum(all ...int64) (total int64) {
	for _, n := range all {
		switch {
		case n > 0 && total > math.MaxInt64-n:
			return math.MaxInt64
		case n < 0 && total < math.MinInt64-n:
			return math.MinInt64
		}
		total += n
	}
	return total
}

// addPayment adds the events of one payment of a processor, oldest first.
func (s sums) addPayment(events []schemas.Event) {
	type captures struct {
		movements
		parts int64 // the sum of the amounts that come without a total
		total int64 // the largest: events can come in another order, and a total only grows
	}
	captured, authorized := map[string]*captures{}, map[string]int64{}
	for _, e := range events {
		d := e.Data
		if a := d.AuthorizedAmount; a != nil {
			authorized[a.Currency] = max(authorized[a.Currency], a.Value)
			if e.Type == schemas.PaymentAuthorizationAdjusted && d.Error == nil {
				authorized[a.Currency] = a.Value // it can be less than before
			}
		}
		switch e.Type {
		case schemas.PaymentFailed, schemas.PaymentCaptureFailed, schemas.PaymentCancelled:
			for currency := range captured {
				s.of(currency).unclear("the payment was reported as captured, and later as " + string(e.Type) + ": the money may not have been taken")
			}
		case schemas.PaymentAuthorized:
			if a := d.Amount; a != nil && d.AuthorizedAmount == nil {
				authorized[a.Currency] = max(authorized[a.Currency], a.Value)
			}
		case schemas.PaymentCaptured:
			a := cmp.Or(d.Amount, d.CapturedAmount)
			if a == nil {
				s.of(schemas.NoCurrency).unclear("an event payment.captured has no amount")
				continue
			}
			c := entry(captured, a.Currency)
			c.add(a.Value)
			if t := d.CapturedAmount; t != nil && t.Currency == a.Currency {
				c.total = max(c.total, t.Value)
			} else {
				c.parts = sum(c.parts, a.Value)
			}
		case schemas.PaymentReversed:
			if d.Amount == nil {
				s.of(schemas.NoCurrency).unclear("an event payment.reversed has no amount")
				continue
			}
			a := s.of(d.Amount.Currency)
			a.Refunded = sum(a.Refunded, d.Amount.Value)
		}
	}
	for currency, value := range authorized {
		a := s.of(currency)
		a.Authorized = sum(a.Authorized, value)
	}
	name := events[0].Data.Connector
	connector, _ := normalize.Lookup(name)
	for currency, c := range captured {
		a, value := s.of(currency), c.sum
		switch {
		case connector.Captures == normalize.CountsTotal:
			value = max(c.total, c.parts)
		case connector.Captures == normalize.CountsParts:
		case c.total > c.most: // more than any capture: the total of several
			value = c.total
		case c.n > 1 && connector.Captures == normalize.CountsOnce:
			a.unclear("a payment was captured several times: the captures are added up, but " + name + " captures a payment once, so some of them may be the same")
		case c.n > 1:
			a.unclear("a payment was captured several times: the captures are added up, but " + name + " may send the total of all captures with each")
		}
		a.Captured = sum(a.Captured, value)
	}
}

// addRefund adds the events of one refund, oldest first.
func (s sums) addRefund(events []schemas.Event) {
	var value *schemas.Amount
	succeeded := false
	for _, e := range events {
		switch e.Type {
		case schemas.RefundSucceeded:
			succeeded = true
		case schemas.RefundFailed, schemas.RefundCancelled:
			succeeded = false
		}
		value = cmp.Or(e.Data.Amount, value)
	}
	switch {
	case !succeeded:
	case value == nil:
		s.of(schemas.NoCurrency).unclear("a refund has no amount")
	default:
		a := s.of(value.Currency)
		a.Refunded = sum(a.Refunded, value.Value)
	}
}

// addRefundsWithoutID adds the events of the refunds of a payment that have no id. Of
// these, nothing says which one failed later.
func (s sums) addRefundsWithoutID(events []schemas.Event) {
	succeeded := map[string]*movements{}
	for _, e := range events {
		a := e.Data.Amount
		switch {
		case e.Type != schemas.RefundSucceeded:
			continue
		case a == nil:
			s.of(schemas.NoCurrency).unclear("a refund has no amount")
			continue
		}
		entry(succeeded, a.Currency).add(a.Value)
	}
	name := events[0].Data.Connector
	connector, _ := normalize.Lookup(name)
	for currency, r := range succeeded {
		a, value := s.of(currency), r.sum
		switch {
		case connector.Refunds == normalize.CountsTotal:
			value = r.most
		case connector.Refunds != normalize.CountsParts && r.n > 1:
			a.unclear("a payment was refunded several times: the refunds are added up, but " + name + " may send the total of all refunds with each")
		}
		a.Refunded = sum(a.Refunded, value)
	}
}

// addDispute adds the events of one dispute, oldest first.
func (s sums) addDispute(events []schemas.Event) {
	var value *schemas.Amount
	taken := false
	for _, e := range events {
		switch {
		case e.Type == schemas.DisputeWon, e.Type == schemas.DisputeCancelled:
			taken = false
		case e.Data.Stage != schemas.StagePreDispute: // an inquiry moves no money
			taken = true
		}
		value = cmp.Or(e.Data.Amount, value)
	}
	switch {
	case !taken:
	case value == nil:
		s.of(schemas.NoCurrency).unclear("a dispute has no amount")
	default:
		a := s.of(value.Currency)
		a.Disputed = sum(a.Disputed, value.Value)
	}
}
