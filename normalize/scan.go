package normalize

import (
	"bytes"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Limits of the payloads that scan reads.
const (
	scanDepth = 32  // levels of nesting
	scanNames = 64  // names of one object
	scanOpen  = 128 // names of all open objects together
)

// scan reads a JSON text into what v points to, as the JSON library does, and returns
// false if it cannot. Then v is as before, and the library must read the text: scan reads
// only common payloads, and false does not mean that the text is malformed. It returns
// false, for example, for a name with an escape in it, and for a value of another type
// than v has.
//
// With check, scan returns false also for text that is not UTF-8 and for an object with a
// duplicate name. It reads the text once: the check is made on the way. Without check, the
// text must have been checked before.
func scan(text []byte, v any, check bool) bool {
	to := reflect.ValueOf(v).Elem()
	if check && !utf8.Valid(text) || !to.IsZero() {
		return false
	}
	s := scanners.Get().(*scanner)
	defer scanners.Put(s)
	s.text, s.at, s.depth, s.open, s.check = text, 0, 0, 0, check
	s.space()
	ok := s.value(to, shapeOf(to.Type()))
	s.space()
	ok = ok && s.at == len(text)
	s.text = nil
	if !ok {
		to.SetZero()
	}
	return ok
}

var scanners = sync.Pool{New: func() any { return new(scanner) }}

// scanner is the state of [scan]. Its methods return false if they cannot read what is at
// the position, and leave the position after what they read.
type scanner struct {
	text  []byte
	at    int
	check bool // the text was not checked before
	depth int
	names [scanOpen]span // of all open objects, the outermost first
	open  int            // how many of names are in use
}

// span is a part of the text: its first byte, and the one after its last.
type span struct{ from, to int }

// space skips white space.
func (s *scanner) space() {
	for s.at < len(s.text) && s.text[s.at] <= ' ' {
		switch s.text[s.at] {
		case ' ', '\n', '\r', '\t':
			s.at++
		default:
			return
		}
	}
}

// next returns the byte at the position, or 0 at the end.
func (s *scanner) next() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

// accept skips a byte if it is at the position.
func (s *scanner) accept(c byte) bool {
	if s.next() != c {
		return false
	}
	s.at++
	return true
}

// skip skips a value.
func (s *scanner) skip() bool {
	switch c := s.next(); c {
	case '{':
		return s.object(func(span) bool { return s.skip() })
	case '[':
		return s.array(s.skip)
	case '"':
		_, _, ok := s.quoted()
		return ok
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	return s.number()
}

// part skips a value and returns its text.
func (s *scanner) part() (part, bool) {
	from := s.at
	if !s.skip() {
		return nil, false
	}
	return part(s.text[from:s.at:s.at]), true
}

// object reads an object. It calls member at the value of each member, with the name.
func (s *scanner) object(member func(name span) bool) bool {
	s.at++
	if s.depth++; s.depth > scanDepth {
		return false
	}
	first := s.open
	var seen uint64 // bits of the names so far: nearly all names differ from the others in it
	s.space()
	for more := !s.accept('}'); more; {
		if s.next() != '"' {
			return false
		}
		name, escaped, ok := s.quoted()
		if !ok || escaped {
			return false
		}
		if s.check {
			bit := s.bit(name)
			if seen&bit != 0 && s.isDuplicate(name, first) || s.open-first == scanNames || s.open == scanOpen {
				return false
			}
			seen |= bit
			s.names[s.open] = name
			s.open++
		}
		s.space()
		if !s.accept(':') {
			return false
		}
		s.space()
		if !member(name) {
			return false
		}
		s.space()
		if more = s.accept(','); more {
			s.space()
		} else if !s.accept('}') {
			return false
		}
	}
	s.open = first
	s.depth--
	return true
}

// bit returns a bit that depends on the length and the ends of a name.
func (s *scanner) bit(name span) uint64 {
	n := name.to - name.from
	if n == 0 {
		return 1
	}
	text := s.text[name.from:name.to]
	return 1 << ((uint(n)*7 + uint(text[0]) + uint(text[n/2])*5 + uint(text[n-1])*3) & 63)
}

// isDuplicate reports whether an open object, whose first name has an index, has a name
// already.
func (s *scanner) isDuplicate(name span, first int) bool {
	for _, other := range s.names[first:s.open] {
		if bytes.Equal(s.text[other.from:other.to], s.text[name.from:name.to]) {
			return true
		}
	}
	return false
}

// array reads an array. It calls element at each element.
func (s *scanner) array(element func() bool) bool {
	s.at++
	if s.depth++; s.depth > scanDepth {
		return false
	}
	s.space()
	for more := !s.accept(']'); more; {
		if !element() {
			return false
		}
		s.space()
		if more = s.accept(','); more {
			s.space()
		} else if !s.accept(']') {
			return false
		}
	}
	s.depth--
	return true
}

// quoted reads a string. It returns the text between the quotes, and whether it has an
// escape. It does not read an escaped surrogate, which may be half a character.
func (s *scanner) quoted() (inner span, escaped, ok bool) {
	s.at++
	inner.from = s.at
	for {
		text, i := s.text, s.at
		for i < len(text) && !special[text[i]] {
			i++
		}
		s.at = i + 1
		switch {
		case i == len(text):
			return inner, escaped, false
		case text[i] == '"':
			inner.to = i
			return inner, escaped, true
		case text[i] != '\\' || !s.escape():
			return inner, escaped, false
		}
		escaped = true
	}
}

// special are the bytes that end the text of a string, begin an escape or must be escaped.
var special = func() (s [256]bool) {
	for c := range ' ' {
		s[c] = true
	}
	s['"'], s['\\'] = true, true
	return s
}()

// escape reads what follows a backslash.
func (s *scanner) escape() bool {
	c := s.next()
	s.at++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		if len(s.text)-s.at < 4 || s.text[s.at]|0x20 == 'd' {
			return false
		}
		_, err := strconv.ParseUint(string(s.text[s.at:s.at+4]), 16, 16)
		s.at += 4
		return err == nil
	}
	return false
}

func (s *scanner) literal(word string) bool {
	if len(s.text)-s.at < len(word) || string(s.text[s.at:s.at+len(word)]) != word {
		return false
	}
	s.at += len(word)
	return true
}

// number reads a number.
func (s *scanner) number() bool {
	s.accept('-')
	if !s.accept('0') && !s.digits() {
		return false
	}
	if s.accept('.') && !s.digits() {
		return false
	}
	if s.next()|0x20 == 'e' {
		s.at++
		if !s.accept('+') {
			s.accept('-')
		}
		return s.digits()
	}
	return true
}

// digits reads one digit or more.
func (s *scanner) digits() bool {
	from := s.at
	for s.at < len(s.text) && '0' <= s.text[s.at] && s.text[s.at] <= '9' {
		s.at++
	}
	return s.at > from
}

// unquoted reads a string and returns its text.
func (s *scanner) unquoted() (string, bool) {
	from := s.at
	inner, escaped, ok := s.quoted()
	switch {
	case !ok:
		return "", false
	case !escaped:
		return string(s.text[inner.from:inner.to]), true
	}
	b, err := jsontext.AppendUnquote(nil, s.text[from:s.at])
	return string(b), err == nil
}

// shape says how values of a type are read.
type shape struct {
	kind    shapeKind
	members map[string]member // of a struct
	elem    *shape            // of a pointer, slice or map
}

// member is a field of a struct.
type member struct {
	index []int // for [reflect.Value.FieldByIndex]
	*shape
}

type shapeKind int

const (
	byLibrary  shapeKind = iota // the JSON library reads the value
	asText                      // [text]
	asPart                      // [part]
	asMetadata                  // [metadata]
	asString
	asBool
	asInt
	asStruct
	asObject // as a struct, and the JSON library reads what is no object
	asPointer
	asSlice
	asMap // with strings as keys
)

// objectReader is implemented by structs with a method for the JSON library that reads an
// object as the library reads a struct, and differs in what it reads of other values.
type objectReader interface{ readsObjects() }

var (
	shapes sync.Map // reflect.Type -> *shape

	textType, partType, metadataType = reflect.TypeFor[text](), reflect.TypeFor[part](), reflect.TypeFor[metadata]()

	// unmarshalers are the interfaces of types that the JSON library reads by a method.
	unmarshalers = []reflect.Type{
		reflect.TypeFor[json.UnmarshalerFrom](), reflect.TypeFor[json.Unmarshaler](),
		reflect.TypeFor[interface{ UnmarshalText([]byte) error }](),
	}
	objectReaderType = reflect.TypeFor[objectReader]()
)

// shapeOf returns the shape of a type.
func shapeOf(t reflect.Type) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	s, _ := shapes.LoadOrStore(t, newShape(t, nil))
	return s.(*shape)
}

// newShape returns the shape of a type that is within the types in outer. A type within
// itself is left to the JSON library.
func newShape(t reflect.Type, outer []reflect.Type) *shape {
	switch t {
	case textType:
		return &shape{kind: asText}
	case partType:
		return &shape{kind: asPart}
	case metadataType:
		return &shape{kind: asMetadata}
	}
	for _, o := range outer {
		if o == t {
			return &shape{}
		}
	}
	pointer := reflect.PointerTo(t)
	readsObjects := pointer.Implements(objectReaderType)
	if !readsObjects {
		for _, u := range unmarshalers {
			if t.Implements(u) || pointer.Implements(u) {
				return &shape{}
			}
		}
	}
	outer = append(outer, t)
	s := &shape{}
	switch t.Kind() {
	case reflect.String:
		s.kind = asString
	case reflect.Bool:
		s.kind = asBool
	case reflect.Int, reflect.Int64:
		s.kind = asInt
	case reflect.Pointer:
		s.kind, s.elem = asPointer, newShape(t.Elem(), outer)
	case reflect.Slice:
		if t.Elem().Kind() != reflect.Uint8 { // the library reads those as base64
			s.kind, s.elem = asSlice, newShape(t.Elem(), outer)
		}
	case reflect.Map:
		if t.Key() == reflect.TypeFor[string]() {
			s.kind, s.elem = asMap, newShape(t.Elem(), outer)
		}
	case reflect.Struct:
		if s.members = membersOf(t, outer); s.members != nil {
			s.kind = asStruct
			if readsObjects {
				s.kind = asObject
			}
		}
	}
	return s
}

// membersOf returns the fields of a struct by their names in JSON, or nil if the JSON
// library must read the struct: two fields have one name, or a tag has options.
func membersOf(t reflect.Type, outer []reflect.Type) map[string]member {
	all := map[string]member{}
	add := func(name string, m member) bool {
		_, twice := all[name]
		all[name] = m
		return !twice
	}
	for f := range t.Fields() {
		name, tagged := f.Tag.Lookup("json")
		if f.Anonymous && !tagged {
			var inner map[string]member
			if f.Type.Kind() == reflect.Struct {
				inner = membersOf(f.Type, outer)
			}
			if inner == nil {
				return nil
			}
			for name, m := range inner {
				if !add(name, member{append(f.Index[:1:1], m.index...), m.shape}) {
					return nil
				}
			}
			continue
		}
		if !f.IsExported() || name == "-" {
			continue
		}
		if !tagged {
			name = f.Name
		}
		if name == "" || strings.ContainsAny(name, `,'"`) || !add(name, member{f.Index, newShape(f.Type, outer)}) {
			return nil
		}
	}
	return all
}

// value reads a value into to, which is its type's zero value.
func (s *scanner) value(to reflect.Value, as *shape) bool {
	switch as.kind {
	case asText:
		return s.textInto(to)
	case asPart:
		p, ok := s.part()
		to.SetBytes(p)
		return ok
	case asMetadata:
		return s.metadataInto(to.Addr().Interface().(*metadata))
	case byLibrary:
		p, ok := s.part()
		return ok && json.Unmarshal(p, to.Addr().Interface(), unchecked) == nil
	}
	if s.next() == 'n' {
		return as.kind != asObject && s.literal("null")
	}
	switch as.kind {
	case asString:
		if s.next() != '"' {
			return false
		}
		text, ok := s.unquoted()
		to.SetString(text)
		return ok
	case asBool:
		if s.next() == 't' {
			to.SetBool(true)
			return s.literal("true")
		}
		return s.literal("false")
	case asInt:
		from := s.at
		if !s.number() {
			return false
		}
		n, err := strconv.ParseInt(string(s.text[from:s.at]), 10, to.Type().Bits())
		to.SetInt(n)
		return err == nil // for example of a number with a fraction
	case asPointer:
		to.Set(reflect.New(to.Type().Elem()))
		return s.value(to.Elem(), as.elem)
	case asSlice:
		return s.next() == '[' && s.sliceInto(to, as.elem)
	case asMap:
		return s.next() == '{' && s.mapInto(to, as.elem)
	case asStruct, asObject:
		return s.next() == '{' && s.object(func(name span) bool {
			m, ok := as.members[string(s.text[name.from:name.to])]
			if !ok {
				return s.skip()
			}
			if len(m.index) == 1 {
				return s.value(to.Field(m.index[0]), m.shape)
			}
			return s.value(to.FieldByIndex(m.index), m.shape)
		})
	}
	return false
}

// textInto reads a value into a [text].
func (s *scanner) textInto(to reflect.Value) bool {
	if s.next() == '"' {
		text, ok := s.unquoted()
		to.SetString(text)
		return ok
	}
	p, ok := s.part()
	if ok {
		to.SetString(string(p.text()))
	}
	return ok
}

// metadataInto reads a value into a [metadata].
func (s *scanner) metadataInto(to *metadata) bool {
	if s.next() != '{' {
		return s.skip()
	}
	*to = make(metadata, 0, 8)
	return s.object(func(name span) bool {
		value, ok := s.part()
		*to = append(*to, metadataField{part(s.text[name.from-1 : name.to+1 : name.to+1]), value})
		return ok
	})
}

// sliceInto reads an array into a slice.
func (s *scanner) sliceInto(to reflect.Value, elem *shape) bool {
	ok := s.array(func() bool {
		n := to.Len()
		to.Grow(1)
		to.SetLen(n + 1)
		return s.value(to.Index(n), elem)
	})
	if to.IsNil() {
		to.Set(reflect.MakeSlice(to.Type(), 0, 0))
	}
	return ok
}

// mapInto reads an object into a map.
func (s *scanner) mapInto(to reflect.Value, elem *shape) bool {
	to.Set(reflect.MakeMap(to.Type()))
	return s.object(func(name span) bool {
		one := reflect.New(to.Type().Elem()).Elem()
		if !s.value(one, elem) {
			return false
		}
		to.SetMapIndex(reflect.ValueOf(string(s.text[name.from:name.to])), one)
		return true
	})
}
