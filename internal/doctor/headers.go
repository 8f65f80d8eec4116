package doctor

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// connectors returns the changes to other connectors, with the same secrets and with
// those of that connector's endpoints. For a request with a large body, connectors come
// first that verify a header which the request has.
func (c Case) connectors() (all []change) {
	names := verify.Connectors()
	if c.isLarge() {
		var first, last []string
		for _, name := range names {
			if known, _ := verify.Lookup(name); c.hasHeaderOf(known) {
				first = append(first, name)
			} else {
				last = append(last, name)
			}
		}
		names = append(first, last...)
	}
	for _, other := range names {
		if other == c.Endpoint.Connector {
			continue
		}
		all = append(all, change{Finding{OtherConnector, fmt.Sprintf("it is of %s, and was verified as of %s", other, c.Endpoint.Connector),
			fmt.Sprintf("name that connector, or send it to %s", webhook.Endpoint{Connector: other}.Path())},
			func(c *Case) { c.Endpoint.Connector = other }})
	}
	for _, o := range c.Others {
		if o.Connector == c.Endpoint.Connector {
			continue
		}
		all = append(all, change{Finding{OtherConnector, fmt.Sprintf("it is of %s, for the endpoint %s, and was verified as of %s", o.Connector, name(o), c.Endpoint.Connector),
			"make the processor call " + o.Path()},
			func(c *Case) { c.Endpoint.Connector, c.Endpoint.Keys = o.Connector, o.Keys }})
	}
	return all
}

// header returns a change that sets headers.
func (c Case) header(f Finding, values map[string]string) change {
	h := c.Request.Header.Clone()
	if h == nil {
		h = http.Header{}
	}
	for name, value := range values {
		h.Set(name, value)
	}
	return change{f, func(c *Case) { c.Request.Header = h }}
}

// headers returns the changes of headers that came several times, under another name or
// in the query.
func (c Case) headers() (all []change) {
	first, where := map[string]string{}, []string{}
	const fix = "find what adds it on the way, and stop that"
	for _, name := range c.connector().Headers {
		values := c.Request.Header.Values(name)
		if len(values) < 2 {
			continue
		}
		first[name], where = values[0], append(where, fmt.Sprintf("the header %s came %d times", name, len(values)))
		for _, value := range values {
			all = append(all, c.header(Finding{HeaderTwice, where[len(where)-1], fix}, map[string]string{name: value}))
		}
	}
	if len(first) > 1 {
		all = append(all, c.header(Finding{HeaderTwice, strings.Join(where, ", "), fix}, first))
	}
	if missing := c.missing(); len(missing) > 0 {
		all = slices.Concat(all, c.renamed(missing), c.queried(missing))
	}
	return all
}

// bare returns a header's name without the prefixes, hyphens and underscores that proxies
// and gateways add or change.
func bare(header string) string {
	s := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(header))
	for _, prefix := range []string{"http", "xoriginal", "xforwarded"} {
		s = strings.TrimPrefix(s, prefix)
	}
	return strings.TrimLeft(s, "x")
}

// renamed returns the changes that take missing headers from headers of other names: all
// of them from similar names, or one from any other.
func (c Case) renamed(missing []string) (all []change) {
	const fix = "make every proxy on its way keep the names of headers, also the hyphens"
	like, where := map[string]string{}, []string{}
	for _, name := range missing {
		for other, values := range c.Request.Header {
			if bare(other) == bare(name) && values[0] != "" {
				like[name], where = values[0], append(where, fmt.Sprintf("%s is in the header %s", name, other))
			}
		}
	}
	if len(like) > 0 {
		all = append(all, c.header(Finding{HeaderMoved, strings.Join(where, ", "), fix}, like))
	}
	for _, name := range missing {
		for other, values := range c.Request.Header {
			all = append(all, c.header(Finding{HeaderMoved, fmt.Sprintf("%s is in the header %s", name, other), fix}, map[string]string{name: values[0]}))
		}
	}
	return all
}

// queried returns the changes that take missing headers from the query, with the
// address as it is and without those parameters: a signed address does not have them.
func (c Case) queried(missing []string) (all []change) {
	u, err := url.Parse(c.Request.URL)
	if err != nil {
		return nil
	}
	values, kept := map[string]string{}, []string{}
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		escaped, value, _ := strings.Cut(pair, "=")
		param, _ := url.QueryUnescape(escaped)
		at := slices.IndexFunc(missing, func(name string) bool { return bare(name) == bare(param) })
		if at < 0 {
			kept = append(kept, pair)
			continue
		}
		values[missing[at]], _ = url.QueryUnescape(value)
	}
	if len(values) == 0 {
		return nil
	}
	u.RawQuery = strings.Join(kept, "&")
	address := u.String()
	f := Finding{HeaderMoved, "its signature is in the query, and tollbridge reads it only from headers", "send these as headers: " + strings.Join(missing, ", ")}
	inQuery := c.header(f, values)
	return append(all, inQuery, change{f, func(c *Case) {
		inQuery.apply(c)
		c.Request.URL = address
	}})
}

var count = regexp.MustCompile(`\b\d{10}(\d{3})?\b`)

// units returns the changes of times in headers to the other unit of time.
func (c Case) units() (all []change) {
	for _, name := range c.connector().Headers {
		value := c.Request.Header.Get(name)
		for _, at := range count.FindAllStringIndex(value, -1) {
			digits, unit, meant := value[at[0]:at[1]], "seconds", "milliseconds"
			if len(digits) == 13 {
				digits, unit, meant = digits[:10], meant, unit
			} else {
				digits += "000"
			}
			all = append(all, c.header(Finding{TimeUnit, fmt.Sprintf("the time in %s is in %s, and was signed in %s", name, unit, meant), "pass the header on as it came"},
				map[string]string{name: value[:at[0]] + digits + value[at[1]:]}))
		}
	}
	return all
}
