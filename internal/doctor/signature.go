package doctor

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// token is what a signature may look like, in a header or in a body: hex or
// base64, as it is or escaped.
var token = regexp.MustCompile(`(?:[0-9A-Za-z+/_-]|%2[BFbf]|\\/){20,}(?:=|%3[Dd]){0,2}`)

// manyTokens bounds what is tried of a body that is full of what looks like
// signatures.
const manyTokens = 40

// signatures tries the signature in other encodings, and with and without what
// stands before it.
func (c Case) signatures() (all []change) {
	headers := c.connector().Headers
	prefixes := prefixes(c.connector().Signs)
	for _, name := range headers {
		value := c.Request.Header.Get(name)
		for _, f := range recoded(value, prefixes) {
			all = append(all, c.header(Finding{SignatureForm, fmt.Sprintf("the signature in %s %s", name, f.what), f.fix}, map[string]string{name: f.text}))
		}
	}
	if len(headers) > 0 {
		return all
	}
	_, err := decode(c.Request.Body)
	for _, f := range recodedTokens(string(c.Request.Body), manyTokens, err != nil) {
		all = append(all, change{Finding{SignatureForm, "the signature in the body " + f.what, f.fix}, func(c *Case) { c.Request.Body = []byte(f.text) }})
	}
	return all
}

// prefix is what a Signs line says stands before a signature: sha256= or v1, or
// the word of an Authorization header.
var prefix = regexp.MustCompile(`\b[A-Za-z]\w*=|\bv\d+,|\b[A-Z][a-z]+ (?:<hex>|<base64>)`)

func prefixes(signs string) (all []string) {
	for _, p := range prefix.FindAllString(signs, -1) {
		p, _, _ = strings.Cut(p, "<")
		all = append(all, p)
	}
	return all
}

var before = regexp.MustCompile(`[\w-]+(?:=|,\s*| )$`)

// recoded returns a header's value as it may have been.
func recoded(value string, prefixes []string) (all []form) {
	add := func(what, fix, text string) {
		if text != value && text != "" {
			all = append(all, form{what, fix, text})
		}
	}
	add("has quotes or white space around it", "take them off", strings.TrimSpace(strings.Trim(strings.TrimSpace(value), `"'`)))
	if text, err := url.PathUnescape(value); err == nil {
		add("is percent-encoded", "pass the header on as it came", text)
	}
	written := value
	for _, p := range prefixes {
		written = regexp.MustCompile(`(?i)\b`+regexp.QuoteMeta(p)).ReplaceAllLiteralString(written, p)
	}
	add("has names that are not as they are written: "+strings.Join(prefixes, " "), "pass the header on as it came", written)
	for _, at := range token.FindAllStringIndex(value, manyTokens) {
		head, tail := value[:at[0]], value[at[0]:]
		for _, p := range prefixes {
			add(fmt.Sprintf("lacks %q before it", p), "pass the header on as it came: what stands before the signature is part of it", head+p+tail)
		}
		if cutAt := before.FindStringIndex(head); cutAt != nil {
			add(fmt.Sprintf("has %q before it, which does not belong there", head[cutAt[0]:]), "send the signature alone", head[:cutAt[0]]+tail)
		}
	}
	return append(all, recodedTokens(value, manyTokens, false)...)
}

// recodedTokens returns a text with each of its tokens in another encoding, and
// with all of them: during a rotation there are two. Those of a form are escaped.
func recodedTokens(text string, most int, isForm bool) (all []form) {
	together, tokens := map[form]string{}, 0 // without its text → the text
	defer func() {
		for f, changed := range together {
			if tokens > 1 {
				all = append(all, form{f.what, f.fix, changed})
			}
		}
	}()
	for _, at := range token.FindAllStringIndex(text, most) {
		was := strings.ReplaceAll(text[at[0]:at[1]], `\/`, "/")
		if plain, err := url.PathUnescape(was); err == nil {
			was = plain
		}
		tokens++
		for _, f := range encodingsOfSignature(was) {
			if f.text == was {
				continue
			}
			kind := form{what: f.what, fix: f.fix}
			together[kind] = strings.ReplaceAll(cmp.Or(together[kind], text), text[at[0]:at[1]], f.text)
			if isForm {
				f.text = url.QueryEscape(f.text)
			}
			all = append(all, form{f.what, f.fix, text[:at[0]] + f.text + text[at[1]:]})
		}
	}
	return all
}

// encodingsOfSignature returns a signature in other encodings.
func encodingsOfSignature(text string) (all []form) {
	const fix = "encode the bytes of the signature as Signed says"
	if b, err := hex.DecodeString(text); err == nil {
		all = append(all, form{"is hex, and base64 is meant", fix, base64.StdEncoding.EncodeToString(b)},
			form{"is hex, and base64url is meant", fix, base64.RawURLEncoding.EncodeToString(b)},
			form{"is hex, and base64 of the hex is meant", fix, base64.StdEncoding.EncodeToString([]byte(text))},
			form{"is in upper case", fix, strings.ToLower(text)}, form{"is in lower case", fix, strings.ToUpper(text)})
	}
	if b, ok := decodeBase64(text); ok {
		all = append(all, form{"is base64, and hex is meant", fix, hex.EncodeToString(b)},
			form{"is base64 of another alphabet or padding", fix, base64.StdEncoding.EncodeToString(b)},
			form{"is base64 with padding or of another alphabet", fix, base64.RawURLEncoding.EncodeToString(b)})
		if inner, err := hex.DecodeString(string(b)); err == nil {
			all = append(all, form{"is base64 of its hex, and hex is meant", fix, string(b)},
				form{"is base64 of its hex, and base64 of its bytes is meant", fix, base64.StdEncoding.EncodeToString(inner)})
		}
	}
	return all
}
