package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/console"
	"github.com/tollbridge/tollbridge/internal/gaps"
	"github.com/tollbridge/tollbridge/internal/kafka"
)

// reloader applies a changed configuration to a running server: endpoints with their
// secrets and settings, the log level, how people log in to the console, and how connections
// to Kafka are secured. It reads the configuration again at SIGHUP, and when one of the files
// that it names changes.
type reloader struct {
	read     func() (config, error) // reads and checks the configuration
	hangup   <-chan os.Signal       // receives SIGHUP
	applied  config                 // the configuration in use
	server   *ingest.Server
	schedule *gaps.Schedule
	login    func(console.Login)             // sets how people log in to the console
	topics   func(kafka.Names) error         // returns an error if the server cannot use topics
	renewed  *atomic.Pointer[kafka.Security] // of the connections to Kafka
	log      zerolog.Logger

	files   []string          // of the configuration that was read last, also if it was refused
	seen    [sha256.Size]byte // their content then
	results *prometheus.CounterVec
	last    prometheus.Gauge
}

// The results of a reload, as the metric has them.
const (
	reloadApplied = "applied"
	reloadRefused = "refused"
)

// register registers the metrics of reloads.
func (r *reloader) register(to prometheus.Registerer) {
	f := promauto.With(to)
	r.results = f.NewCounterVec(prometheus.CounterOpts{
		Name: "tollbridge_config_reloads_total",
		Help: "Times that the configuration was read again, by result: applied, or refused because of an error.",
	}, []string{"result"})
	r.results.WithLabelValues(reloadApplied)
	r.results.WithLabelValues(reloadRefused)
	r.last = f.NewGauge(prometheus.GaugeOpts{
		Name: "tollbridge_config_last_reload_successful",
		Help: "1 if the configuration that was read last is in use, 0 if it was refused.",
	})
	r.last.Set(1)
}

// The times of a reload.
const (
	// reloadDelay is how long the files must be unchanged before they are read, since
	// several may change together.
	reloadDelay = 300 * time.Millisecond
	// reloadPoll is the time between two looks at the files in case that the system does
	// not report changes, as for network file systems.
	reloadPoll = 30 * time.Second
)

// run reloads until ctx is done.
func (r *reloader) run(ctx context.Context) {
	changes, err := fsnotify.NewWatcher()
	if err != nil {
		r.log.Warn().Err(err).Dur("every_ms", reloadPoll).Msg("the system does not report changed files; looking at them from time to time")
		changes = &fsnotify.Watcher{}
	} else {
		defer changes.Close()
	}
	poll := time.NewTicker(reloadPoll)
	defer poll.Stop()
	quiet := time.NewTimer(reloadDelay) // a file may have changed before it was watched
	for {
		watch(changes, r.files)
		select {
		case <-ctx.Done():
			return
		case <-r.hangup:
			r.log.Info().Msg("SIGHUP: reading the configuration again")
			r.reload()
		case <-changes.Events:
			quiet.Reset(reloadDelay)
			continue
		case <-changes.Errors: // events were lost
			quiet.Reset(reloadDelay)
			continue
		case <-poll.C:
			r.reloadIfChanged()
		case <-quiet.C:
			r.reloadIfChanged()
		}
	}
}

// reloadIfChanged reloads if the content of the files is not what was read last.
func (r *reloader) reloadIfChanged() {
	if contentOf(r.files) != r.seen {
		r.log.Info().Msg("a file of the configuration changed: reading the configuration again")
		r.reload()
	}
}

// reload reads the configuration and applies it, or logs why it is refused: the former
// one stays in use then.
func (r *reloader) reload() {
	next, seen, err := readStable(r.read)
	r.files, r.seen = next.files(), seen // no further attempt until one of them changes
	if err == nil {
		err = r.apply(next)
	}
	if err != nil {
		r.log.Error().Err(err).Msg("the configuration is refused; the former one stays in use")
		r.results.WithLabelValues(reloadRefused).Inc()
		r.last.Set(0)
		return
	}
	r.results.WithLabelValues(reloadApplied).Inc()
	r.last.Set(1)
}

// readStable reads the configuration, and returns a hash of its files that is not newer
// than it: a change during or after the call is then seen as a change. With an error it
// returns as much of the configuration as could be read.
func readStable(read func() (config, error)) (c config, seen [sha256.Size]byte, err error) {
	c, _ = read() // only for the names of its files
	for {
		files := c.files()
		seen = contentOf(files)
		if c, err = read(); slices.Equal(c.files(), files) {
			return c, seen, err
		}
	}
}

// apply applies a configuration, whole or not at all.
func (r *reloader) apply(next config) error {
	if len(next.Endpoints) == 0 {
		return errors.New("there are no endpoints")
	}
	settings, err := next.server()
	if err != nil {
		return err
	}
	restart := needRestart(r.applied, next)
	applied := r.applied.with(next)
	secured, err := next.producer()
	if err != nil {
		return err
	}
	security := *r.renewed.Load() // a section that was removed is used until the restart: its files may be gone
	if r.applied.Kafka.TLS != nil && next.Kafka.TLS != nil {
		security.TLS = secured.Kafka.TLS
	}
	if r.applied.Kafka.SASL != nil && next.Kafka.SASL != nil {
		security.SASL = secured.Kafka.SASL
	}
	login, err := next.Console.login()
	if err != nil {
		return err
	}
	if err := r.topics(applied.layout().Names); err != nil {
		return err
	}
	removed, err := r.server.SetEndpoints(settings.Endpoints)
	if err != nil {
		return err
	}
	if r.applied.Console.sameLogins(next.Console) {
		r.login(login)
	}
	r.renewed.Store(&security)
	r.applied = applied
	r.schedule.Set(next.gapsJobs(settings.Endpoints))
	for _, warning := range next.warnings(settings.Endpoints) {
		r.log.Warn().Msg(warning)
	}
	for _, s := range removed {
		connector, name, _ := strings.Cut(s.Endpoint, "/")
		line := r.log.Warn().Str("connector", connector).Str("endpoint", name).Str("secret", s.Name)
		if s.LastMatched.IsZero() {
			line.Msg("a secret was removed; it has matched no webhook since the start")
			continue
		}
		ago := time.Since(s.LastMatched).Round(time.Second)
		line.Time("last_matched", s.LastMatched.UTC()).Stringer("ago", ago).Msg("a secret was removed; if the processor still signs with it, its webhooks are refused from now on")
	}
	if len(restart) > 0 {
		r.log.Warn().Strs("keys", restart).Msg("these keys changed, and have an effect only after a restart")
	}
	r.log.Info().Int("endpoints", len(settings.Endpoints)).Str("log_level", next.LogLevel).Msg("the configuration was read again and is in use")
	setLogLevel(next.LogLevel) // after the lines about this reload
	return nil
}

// reloadable are the keys of the configuration that a reload applies.
var reloadable = []string{"endpoints", "public_url", "merchant_id_keys", "log_level", "kafka.tls", "kafka.sasl"}

// reloadableLogins are the keys that a reload applies if neither of the two logins is
// added or removed.
var reloadableLogins = []string{"console.password.value", "console.password.env", "console.password.file", "console.proxy"}

// sameLogins reports whether next has a password if c has one, and a proxy if c has one.
func (c consoleConfig) sameLogins(next consoleConfig) bool {
	return (c.Password == secretConfig{}) == (next.Password == secretConfig{}) && (c.Proxy == nil) == (next.Proxy == nil)
}

// needRestart returns the keys whose values differ and that a reload does not apply.
func needRestart(applied, next config) (keys []string) {
	a, b := valuesByKey(reflect.ValueOf(applied), ""), valuesByKey(reflect.ValueOf(next), "")
	applies := reloadable
	if applied.Console.sameLogins(next.Console) {
		applies = slices.Concat(reloadable, reloadableLogins)
	}
	for _, key := range slices.Sorted(maps.Keys(b)) {
		if !slices.Contains(applies, key) && !reflect.DeepEqual(a[key], b[key]) {
			keys = append(keys, key)
		}
	}
	// Security can be renewed, and neither added nor removed.
	if (applied.Kafka.TLS == nil) != (next.Kafka.TLS == nil) {
		keys = append(keys, "kafka.tls")
	}
	if (applied.Kafka.SASL == nil) != (next.Kafka.SASL == nil) {
		keys = append(keys, "kafka.sasl")
	}
	return keys
}

// with returns the configuration with what a reload applies of the next one.
func (c config) with(next config) config {
	c.Endpoints, c.PublicURL, c.MerchantIDKeys, c.LogLevel = next.Endpoints, next.PublicURL, next.MerchantIDKeys, next.LogLevel
	if c.Kafka.TLS != nil && next.Kafka.TLS != nil {
		c.Kafka.TLS = next.Kafka.TLS
	}
	if c.Kafka.SASL != nil && next.Kafka.SASL != nil {
		c.Kafka.SASL = next.Kafka.SASL
	}
	if c.Console.sameLogins(next.Console) {
		c.Console.Password, c.Console.Proxy = next.Console.Password, next.Console.Proxy
	}
	return c
}

// valuesByKey returns the values of a struct by their keys in YAML. Those of a struct in it
// have its key and a dot before theirs.
func valuesByKey(of reflect.Value, prefix string) map[string]any {
	all := map[string]any{}
	for i := range of.NumField() {
		key, _, _ := strings.Cut(of.Type().Field(i).Tag.Get("yaml"), ",")
		switch {
		case key == "":
		case of.Field(i).Kind() == reflect.Struct:
			maps.Copy(all, valuesByKey(of.Field(i), prefix+key+"."))
		default:
			all[prefix+key] = of.Field(i).Interface()
		}
	}
	return all
}

// files returns the paths of all files that the configuration is read from, sorted.
func (c config) files() (files []string) {
	add := func(path string) {
		if path != "" {
			files = append(files, path)
		}
	}
	add(c.file)
	if t := c.Kafka.TLS; t != nil {
		add(t.CA)
		add(t.Cert)
		add(t.Key)
	}
	if a := c.Kafka.SASL; a != nil && a.OAuth != nil {
		add(a.OAuth.CA)
	}
	eachSecret(reflect.ValueOf(c), func(s secretConfig) { add(s.File) })
	slices.Sort(files)
	return slices.Compact(files)
}

// eachSecret calls f with each secret in a value of the configuration.
func eachSecret(in reflect.Value, f func(secretConfig)) {
	switch in.Kind() {
	case reflect.Pointer:
		if !in.IsNil() {
			eachSecret(in.Elem(), f)
		}
	case reflect.Slice:
		for i := range in.Len() {
			eachSecret(in.Index(i), f)
		}
	case reflect.Map:
		for _, key := range in.MapKeys() {
			eachSecret(in.MapIndex(key), f)
		}
	case reflect.Struct:
		if s, ok := in.Interface().(secretConfig); ok {
			f(s)
			return
		}
		for i := range in.NumField() {
			if in.Type().Field(i).IsExported() {
				eachSecret(in.Field(i), f)
			}
		}
	}
}

// contentOf returns a hash of the content of files. A file that cannot be read counts as
// its error.
func contentOf(files []string) (sum [sha256.Size]byte) {
	var all bytes.Buffer
	for _, path := range files {
		b, err := os.ReadFile(path)
		one := sha256.Sum256(fmt.Append(b, err))
		all.Write(one[:])
	}
	return sha256.Sum256(all.Bytes())
}

// watch makes the watcher report changes in the folders of files.
func watch(w *fsnotify.Watcher, files []string) {
	if w.Events == nil {
		return
	}
	have := w.WatchList()
	for _, path := range files {
		for _, folder := range foldersOf(path) {
			if !slices.Contains(have, folder) {
				_ = w.Add(folder) // if it does not exist, or cannot be watched, the files are polled
			}
		}
	}
}

// maxLinks is the number of symbolic links in a path that are followed, as in Linux.
const maxLinks = 40

// foldersOf returns the folders in which a change can give a file another content: its
// own, because files are replaced by renaming others, and that of each symbolic link in
// its path. Kubernetes replaces such a link, ..data, when a secret changes.
func foldersOf(path string) (folders []string) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil
	}
	for range maxLinks {
		link, rest := firstLink(path)
		if link == "" {
			break
		}
		folders = append(folders, filepath.Dir(link))
		target, err := os.Readlink(link)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(link), target)
		}
		path = filepath.Join(target, rest)
	}
	return append(folders, filepath.Dir(path))
}

// firstLink returns the first symbolic link in a path, and what follows it; "" if there
// is none.
func firstLink(path string) (link, rest string) {
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != filepath.Separator {
			continue
		}
		if info, err := os.Lstat(path[:i]); err == nil && info.Mode()&os.ModeSymlink != 0 {
			return path[:i], path[i:]
		}
	}
	return "", ""
}

// notifyHangup returns a channel that receives SIGHUP, which no longer ends the process
// then, and a function that restores the default.
func notifyHangup() (hangup chan os.Signal, restore func()) {
	hangup = make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	return hangup, func() { signal.Stop(hangup) }
}
