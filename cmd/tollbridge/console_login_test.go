package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/tollbridge/tollbridge/internal/sign"
)

const consolePassword = "a password for tests"

// TestConsoleNeedsLogin: a console that others can reach is refused without a login, by
// serve and by config check, with an error that names both ways. A configuration without the
// section console stays valid.
func TestConsoleNeedsLogin(t *testing.T) {
	_, secret, _ := sign.Dev("stripe")
	for _, c := range []struct {
		admin, console, wrong string // wrong is a part of the error; empty: the configuration is right
	}{
		{"0.0.0.0:0", "", ""},
		{"127.0.0.1:0", "{write: true, unmask: true}", ""},
		{"0.0.0.0:0", "{password: {value: " + consolePassword + "}, write: true}", ""},
		{"0.0.0.0:0", "{proxy: {secret: {value: sixteen-characters}}}", ""},
		{"0.0.0.0:0", "{write: true}", "console.password|console: {proxy"},
		{":0", "{unmask: true}", "console.password|console: {proxy"},
		{"127.0.0.1:0", "{password: {value: short}}", "at least 12"},
		{"127.0.0.1:0", "{password: {env: TOLLBRIDGE_TEST_UNSET}}", "console.password"},
		{"127.0.0.1:0", "{proxy: {header: X-User}}", "console.proxy.secret"},
		{"127.0.0.1:0", "{passwort: x}", "passwort"},
	} {
		file := filepath.Join(t.TempDir(), "tollbridge.yaml")
		section := ""
		if c.console != "" {
			section = "console: " + c.console + ","
		}
		text := fmt.Sprintf(`{admin: "%s", listen: "127.0.0.1:0", state: "", %s kafka: {brokers: ["127.0.0.1:1"]}, endpoints: [{connector: stripe, secrets: {main: {value: %s}}}]}`, c.admin, section, secret)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, command := range [][]string{{"config", "check"}, {"serve"}} {
			if c.wrong == "" && command[0] == "serve" {
				continue // it would run
			}
			got := tollbridge(t, "", append(command, "--config", file)...)
			if c.wrong == "" && got.code != 0 || c.wrong != "" && got.code != 2 {
				t.Errorf("%q with %s: exit %d: %s", command, text, got.code, got.err)
			}
			if strings.Contains(got.err, consolePassword) || c.console == "{password: {value: short}}" && strings.Contains(got.err, "short}") {
				t.Errorf("the error has the password: %s", got.err)
			}
			for part := range strings.SplitSeq(c.wrong, "|") {
				if !strings.Contains(strings.ReplaceAll(got.err, "console: {password", "console.password"), part) {
					t.Errorf("%q with %s: the error has no %q: %s", command, text, part, got.err)
				}
			}
		}
	}
}

// TestConsoleLogin: with a password, serve's console shows nothing before the login, whoever
// asks; probes and metrics need none; and the webhooks' listener has no console.
func TestConsoleLogin(t *testing.T) {
	b := startBridge(t, "console: {password: {value: "+consolePassword+"}},")
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar}
	read := func(address string) (int, string) {
		t.Helper()
		a, err := client.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		return a.StatusCode, a.Request.URL.Path
	}
	for _, page := range []string{"", "dead", "payment?id=1", "connectors"} {
		if status, path := read(b.console() + page); status != http.StatusOK || path != "/console/login" {
			t.Errorf("%s before the login: status %d of %s", page, status, path)
		}
	}
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		if status, at := read("http://" + b.admin + path); status != http.StatusOK || at != path {
			t.Errorf("%s: status %d of %s", path, status, at)
		}
	}
	a, err := client.PostForm(b.console()+"login", url.Values{"password": {consolePassword}, "next": {"/console/dead"}})
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if a.StatusCode != http.StatusOK || a.Request.URL.Path != "/console/dead" {
		t.Errorf("after the login: status %d of %s", a.StatusCode, a.Request.URL.Path)
	}
	public := strings.TrimSuffix(b.url, "/webhooks/stripe")
	for _, path := range []string{"/console", "/console/", "/console/login", "/console/assets/console.css", "/webhooks/../console/", "/webhooks/console"} {
		if status, _ := read(public + path); status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
			t.Errorf("the webhooks' listener answers %s with %d", path, status)
		}
	}
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, b.console(), nil)
	r.Host = "evil.example"
	if a, err = client.Do(r); err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if a.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("with another Host header: status %d, want 421", a.StatusCode)
	}
}

// TestConsoleNewPassword: a changed password is used at once, and ends the sessions. The log
// names a login that is added: it needs a restart.
func TestConsoleNewPassword(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	writeFile(t, password, consolePassword)
	b := startBridge(t, "console: {password: {file: "+password+"}},")
	p := newPerson(t, b, consolePassword)
	writeFile(t, password, "the next password")
	until(t, "the session to end", func() bool { status, _ := p.get("connectors"); return status == http.StatusUnauthorized })
	if status, body := newPerson(t, b, "the next password").get("connectors"); status != http.StatusOK {
		t.Errorf("with the next password: %d %s", status, body)
	}
	if strings.Contains(b.log.String(), "after a restart") {
		t.Errorf("the log says that a password needs a restart: %s", lastLines(b.log.String()))
	}
	file, err := os.ReadFile(b.config)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, b.config, strings.Replace(string(file), "console: {", "console: {proxy: {secret: {value: sixteen-characters}}, ", 1))
	until(t, "the warning", func() bool { return strings.Contains(b.log.String(), `"keys":["console.proxy"]`) })
}

// TestConsoleCommandProxy: 'tollbridge console' takes the address of a client from a proxy of
// trusted_proxies, as serve does.
func TestConsoleCommandProxy(t *testing.T) {
	b := startBridge(t, "console: {password: {value: "+consolePassword+"}}, trusted_proxies: [127.0.0.1],")
	ctx, stop := context.WithCancel(t.Context())
	var out screen
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"console", "--config", b.config, "--listen", "127.0.0.1:0", "--admin", freePort(t)}, strings.NewReader(""), &out, &out)
	}()
	until(t, "the command to print its address", func() bool { return strings.Contains(out.String(), "/console/") })
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, strings.Fields(out.String())[1]+"login", strings.NewReader("password=wrong"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Forwarded-For", "192.0.2.7")
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if !strings.Contains(out.String(), `"remote":"192.0.2.7"`) {
		t.Errorf("status %d; the audit log does not have the address of the client: %s", a.StatusCode, out.String())
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("exit %d: %s", code, out.String())
	}
}

// TestConsoleLoginInBrowser logs in and out as a person does.
func TestConsoleLoginInBrowser(t *testing.T) {
	path := chromium(t)
	b := startBridge(t, "console: {password: {value: "+consolePassword+"}},")
	w := openWindow(t, path)
	form := func(password string) []chromedp.Action[chromedp.Void] {
		return []chromedp.Action[chromedp.Void]{
			chromedp.SendKeys(chromedp.CSS("#name"), "<b>anna</b>"), chromedp.SendKeys(chromedp.CSS("#password"), password+"\r"),
		}
	}
	w.do("a page before the login", chromedp.Navigate(b.console()+"connectors"), chromedp.WaitVisible(chromedp.CSS("#password")))
	w.pictures("login", b.console()+"connectors")
	w.do("a wrong password", append(form("wrong"), chromedp.WaitVisible(chromedp.CSS("[role=alert]")))...)
	w.look("login-wrong", "dark", 360)
	w.forget("401") // the browser's line about the status
	w.do("the password", append(form(consolePassword), chromedp.WaitVisible(chromedp.CSS("form.account")))...)
	if at := value[string](w, `location.pathname`); at != "/console/connectors" {
		t.Errorf("after the login the browser is at %s", at)
	}
	if name := value[string](w, `document.querySelector("form.account span").textContent`); name != "<b>anna</b>" {
		t.Errorf("the page shows the name %q", name)
	}
	if cookie := value[string](w, `document.cookie`); cookie != "" {
		t.Errorf("scripts see the cookie %q", cookie)
	}
	w.do("logout", chromedp.Click(chromedp.CSS("form.account button")), chromedp.WaitVisible(chromedp.CSS("#password")))
	w.do("a page after the logout", chromedp.Navigate(b.console()+"connectors"), chromedp.WaitVisible(chromedp.CSS("#password")))
	w.check()
}
