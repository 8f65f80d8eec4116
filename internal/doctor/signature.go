package doctor

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// token matches what may be a signature in a header or in a body: hex or base64, also
// percent-encoded or with escaped slashes.
var token = regexp.MustCompile(`(?:[0-9A-Za-z+/_-]|%2[BFbf]|\\/){20,}(?:=|%3[Dd]){0,2}`)

// The bounds on what is taken for a signature. An RSA signature of 8192 bits has 2048
// bytes as hex.
const (
	maxTokens        = 40        // of a text
	maxTokensOfLarge = 4         // of a large body
	maxTokenBytes    = 4096      // of each
	maxTokenOffset   = largeBody // where the last one must end
)

// signatures returns the changes of the signature to other encodings, and to one with or
// without a prefix.
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
	most := maxTokens
	if c.isLarge() {
		most = maxTokensOfLarge
	}
	for _, f := range recodedTokens(string(c.Request.Body), most, !json.Valid(c.Request.Body)) {
		all = append(all, change{Finding{SignatureForm, "the signature in the body " + f.what, f.fix}, func(c *Case) { c.Request.Body = []byte(f.text) }})
	}
	return all
}

// prefix matches the prefixes of signatures in a Signs line: sha256= or v1, or the
// scheme of an Authorization header.
var prefix = regexp.MustCompile(`\b[A-Za-z]\w*=|\bv\d+,|\b[A-Z][a-z]+ (?:<hex>|<base64>)`)

// prefixes returns the prefixes of signatures in a Signs line.
func prefixes(signs string) (all []string) {
	for _, p := range prefix.FindAllString(signs, -1) {
		p, _, _ = strings.Cut(p, "<")
		all = append(all, p)
	}
	return all
}

// before matches a prefix at the end of the text before a signature.
var before = regexp.MustCompile(`[\w-]+(?:=|,\s*| )$`)

// recoded returns the forms in which a header's value may have been sent.
func recoded(value string, prefixes []string) (all []form) {
	add := func(what, fix, text string) {
		if text != value && text != "" {
			all = append(all, form{what, fix, text})
		}
	}
	add("has quotes or white space around it", "remove them", strings.TrimSpace(strings.Trim(strings.TrimSpace(value), `"'`)))
	if text, err := url.PathUnescape(value); err == nil {
		add("is percent-encoded", "pass the header on unchanged", text)
	}
	written := value
	for _, p := range prefixes {
		written = regexp.MustCompile(`(?i)\b`+regexp.QuoteMeta(p)).ReplaceAllLiteralString(written, p)
	}
	add("has names in the wrong case; expected "+strings.Join(prefixes, " "), "pass the header on unchanged", written)
	for _, at := range token.FindAllStringIndex(value, maxTokens) {
		head, tail := value[:at[0]], value[at[0]:]
		for _, p := range prefixes {
			add(fmt.Sprintf("lacks %q before it", p), "pass the header on unchanged: the prefix is part of it", head+p+tail)
		}
		if cutAt := before.FindStringIndex(head); cutAt != nil {
			add(fmt.Sprintf("has %q before it, which does not belong there", head[cutAt[0]:]), "send the signature alone", head[:cutAt[0]]+tail)
		}
	}
	return append(all, recodedTokens(value, maxTokens, false)...)
}

// recodedTokens returns a text with each one of its first tokens in another encoding, and
// with all of them: while a secret is rotated there are two. In a form they are
// percent-encoded.
func recodedTokens(text string, most int, isForm bool) (all []form) {
	together, tokens := map[form]string{}, 0 // form without its text → the text with all tokens in it
	defer func() {
		for f, changed := range together {
			if tokens > 1 {
				all = append(all, form{f.what, f.fix, changed})
			}
		}
	}()
	for _, at := range token.FindAllStringIndex(text[:min(len(text), maxTokenOffset)], most) {
		if at[1]-at[0] > maxTokenBytes {
			continue
		}
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
	const fix = "encode the bytes of the signature as the line \"signed\" says"
	if b, err := hex.DecodeString(text); err == nil {
		all = append(all, form{"is hex, and base64 is expected", fix, base64.StdEncoding.EncodeToString(b)},
			form{"is hex, and base64url is expected", fix, base64.RawURLEncoding.EncodeToString(b)},
			form{"is hex, and base64 of the hex is expected", fix, base64.StdEncoding.EncodeToString([]byte(text))},
			form{"is in upper case", fix, strings.ToLower(text)}, form{"is in lower case", fix, strings.ToUpper(text)})
	}
	if b, ok := decodeBase64(text); ok {
		all = append(all, form{"is base64, and hex is expected", fix, hex.EncodeToString(b)},
			form{"is base64 of another alphabet or padding", fix, base64.StdEncoding.EncodeToString(b)},
			form{"is base64 with padding or of another alphabet", fix, base64.RawURLEncoding.EncodeToString(b)})
		if inner, err := hex.DecodeString(string(b)); err == nil {
			all = append(all, form{"is base64 of its hex, and hex is expected", fix, string(b)},
				form{"is base64 of its hex, and base64 of its bytes is expected", fix, base64.StdEncoding.EncodeToString(inner)})
		}
	}
	return all
}
