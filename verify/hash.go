package verify

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"
)

// hashSetting is the setting for processors that let the merchant choose the hash
// function.
var hashSetting = Setting{Name: "hash", Description: "the hash that the processor was told to use: " + strings.Join(slices.Sorted(maps.Keys(hashes)), ", ")}

var hashes = map[string]func() hash.Hash{
	"md5":    md5.New,
	"sha1":   sha1.New,
	"sha256": sha256.New,
	"sha384": sha512.New384,
	"sha512": sha512.New,
}

// hash returns the hash function of the setting, or the processor's default.
func (k Keys) hash(standard func() hash.Hash) (func() hash.Hash, error) {
	name := k.Settings[hashSetting.Name]
	if name == "" {
		return standard, nil
	}
	if h, ok := hashes[name]; ok {
		return h, nil
	}
	return nil, fmt.Errorf("%w: hash is %q, want %s", ErrSetting, name, strings.Join(slices.Sorted(maps.Keys(hashes)), ", "))
}

// digest returns the hash of text.
func digest(h func() hash.Hash, text string) []byte {
	d := h()
	d.Write([]byte(text))
	return d.Sum(nil)
}
