package doctor

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/tollbridge/tollbridge/verify"
)

// secrets returns the changes of the secrets: each one alone, each in other forms, and
// those of other endpoints.
func (c Case) secrets() (all []change) {
	if c.connector().Keyless {
		return c.othersKeys()
	}
	by := func(f Finding, k verify.Keys) {
		all = append(all, change{f, func(c *Case) { c.Endpoint.Keys.Secrets, c.Endpoint.Keys.Settings = k.Secrets, k.Settings }})
	}
	settings := c.Endpoint.Keys.Settings
	for _, s := range c.Endpoint.Keys.Secrets {
		by(Finding{OtherSecret, fmt.Sprintf("it is signed with the secret %q, and one before it cannot be used", s.Name), "correct or remove the others"},
			verify.Keys{Secrets: []verify.Secret{s}, Settings: settings})
		for _, f := range forms(s.Value) {
			by(Finding{SecretForm, fmt.Sprintf("the secret %q %s", s.Name, f.what), f.fix},
				verify.Keys{Secrets: []verify.Secret{{Name: s.Name, Value: f.text}}, Settings: settings})
		}
	}
	return append(all, c.othersKeys()...)
}

// othersKeys returns the changes to the keys of the configuration's other endpoints: each
// secret alone, with the settings of its endpoint if that is of the same connector.
func (c Case) othersKeys() (all []change) {
	for _, o := range c.Others {
		same := o.Connector == c.Endpoint.Connector
		mode := ""
		if o.Live != c.Endpoint.Live {
			mode = map[bool]string{true: ", which is live, and this one is for tests", false: ", which is for tests, and this one is live"}[o.Live]
		}
		fix := fmt.Sprintf("make the processor call %s, or give this endpoint that secret", o.Path())
		if c.connector().Keyless && same {
			all = append(all, change{Finding{OtherSecret, fmt.Sprintf("it is signed with a key of the endpoint %s%s", name(o), mode), fix}, func(c *Case) {
				c.Endpoint.Keys.Settings = o.Keys.Settings
			}})
		}
		for _, s := range o.Keys.Secrets {
			if c.has(s.Value) || c.connector().Keyless {
				continue
			}
			all = append(all, change{Finding{OtherSecret, fmt.Sprintf("it is signed with the secret %q of the endpoint %s%s", s.Name, name(o), mode), fix}, func(c *Case) {
				c.Endpoint.Keys.Secrets = []verify.Secret{s}
				if same {
					c.Endpoint.Keys.Settings = o.Keys.Settings
				}
			}})
		}
	}
	return all
}

// has reports whether the endpoint has a secret.
func (c Case) has(secret string) bool {
	return slices.ContainsFunc(c.Endpoint.Keys.Secrets, func(s verify.Secret) bool { return s.Value == secret })
}

// form is a text in another form. what says what is wrong with the form that was given,
// fix how to correct it.
type form struct{ what, fix, text string }

// forms returns the secrets for which a given one may be a mistake.
func forms(secret string) (all []form) {
	add := func(what, fix, text string) {
		if text != secret && text != "" {
			all = append(all, form{what, fix, text})
		}
	}
	bare := strings.Trim(strings.TrimSpace(strings.TrimPrefix(secret, "\ufeff")), "\x00")
	unquoted := strings.TrimSpace(strings.Trim(bare, `"'`))
	add("has white space around it, such as the newline at a file's end", "remove the white space", bare)
	add("has quotes around it", "remove the quotes", unquoted)
	add(`ends with \n as two characters`, `remove the \n`, strings.TrimSuffix(bare, `\n`))
	if variable, value, ok := strings.Cut(bare, "="); ok && strings.Trim(variable, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") == "" {
		add("has the name of a variable before it", "give only the value after the =", strings.Trim(value, `"'`))
	}
	if text, err := url.PathUnescape(bare); err == nil {
		add("is percent-encoded", "give it decoded", text)
	}
	for _, base := range slices.Compact([]string{secret, unquoted, strings.TrimPrefix(unquoted, "whsec_")}) {
		more := ""
		switch base {
		case secret:
		case unquoted:
			more = "has something around it, and "
		default:
			more = "has whsec_ before it, and "
		}
		for _, f := range encodings(base) {
			add(more+f.what, f.fix, f.text)
		}
	}
	return all
}

// encodings returns a secret in another encoding.
func encodings(secret string) []form {
	all := []form{
		{"begins with whsec_, which is not part of this connector's secrets", "remove whsec_", strings.TrimPrefix(secret, "whsec_")},
		{"lacks the prefix whsec_", "give it with whsec_, as the processor shows it", "whsec_" + secret},
		{"is in lower case, and was in upper case", "give it as the processor shows it", strings.ToUpper(secret)},
		{"is in upper case, and was in lower case", "give it as the processor shows it", strings.ToLower(secret)},
		{"is text, and its hex is expected", "give the hex of the secret", hex.EncodeToString([]byte(secret))},
		{"is text, and its base64 is expected", "give the base64 of the secret", base64.StdEncoding.EncodeToString([]byte(secret))},
	}
	if b, err := hex.DecodeString(secret); err == nil {
		all = append(all,
			form{"is hex, and the text that it encodes is expected", "give the secret as text: decode the hex", string(b)},
			form{"is hex, and base64 is expected", "give the same bytes as base64", base64.StdEncoding.EncodeToString(b)})
	}
	if b, ok := decodeBase64(secret); ok {
		all = append(all,
			form{"is base64, and the text that it encodes is expected", "give the secret as text: decode the base64", string(b)},
			form{"is base64, and hex is expected", "give the same bytes as hex", hex.EncodeToString(b)},
			form{"is base64, and hex is expected, in upper case", "give the same bytes as hex", strings.ToUpper(hex.EncodeToString(b))},
			form{"is base64 of another alphabet or padding", "give it as standard base64", base64.StdEncoding.EncodeToString(b)})
	}
	return all
}

// decodeBase64 decodes base64 of either alphabet, with padding or without.
func decodeBase64(text string) ([]byte, bool) {
	b, err := base64.RawStdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "=")))
	return b, err == nil && len(b) > 0
}

// hashes are the hash functions that a merchant can choose with some connectors.
var hashes = []string{"md5", "sha1", "sha256", "sha384", "sha512"}

// settings returns the changes of the settings: each without white space, quotes or \n
// as two characters, and other hash functions.
func (c Case) settings() (all []change) {
	with := func(f Finding, name, value string) {
		if value == c.Endpoint.Keys.Settings[name] {
			return
		}
		settings := map[string]string{name: value}
		for other, text := range c.Endpoint.Keys.Settings {
			if other != name {
				settings[other] = text
			}
		}
		all = append(all, change{f, func(c *Case) { c.Endpoint.Keys.Settings = settings }})
	}
	for _, s := range c.connector().Settings {
		value := c.Endpoint.Keys.Settings[s.Name]
		with(Finding{SettingForm, fmt.Sprintf("the setting %s has white space or quotes around it", s.Name), "remove them"},
			s.Name, strings.TrimSpace(strings.Trim(strings.TrimSpace(value), `"'`)))
		with(Finding{SettingForm, fmt.Sprintf(`the setting %s has \n as two characters at the end of a line`, s.Name), "write line breaks"},
			s.Name, strings.ReplaceAll(value, `\n`, "\n"))
		if s.Name == "hash" {
			for _, h := range hashes {
				with(Finding{OtherSetting, "the processor hashes with " + h, "set hash to " + h}, s.Name, h)
			}
		}
	}
	return all
}
