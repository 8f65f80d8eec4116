package deploy_test

import (
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	query "github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// row is a row of the dashboard.
type row struct {
	title  string
	panels []panel
}

// panel shows queries over time or, if it is single, their last values. The unit is one of
// Grafana's: https://grafana.com/docs/grafana/latest/panels-visualizations/configure-standard-options/
type panel struct {
	title, text, unit string
	single            bool
	alarm             float64 // a single value is red from it on; 0: never
	least             float64 // a single value is red below it
	none              string  // what a single value says without data; "": 0
	queries           []legend
}

// legend is a query and the names of its lines, in which {{label}} is a label's value.
type legend struct{ name, expression string }

// These select the series of the replicas, and of the endpoints, that the user chose.
const (
	replicas  = `job="$job", instance=~"$instance"`
	endpoints = replicas + `, connector=~"$connector", endpoint=~"$endpoint"`
)

// quantiles returns queries for quantiles of a histogram by a label; "" is by none.
func quantiles(metric, by, selector string) (all []legend) {
	group, name := "le", ""
	if by != "" {
		group, name = "le, "+by, "{{"+by+"}} "
	}
	for _, q := range []struct{ percent, fraction string }{{"50 %", "0.5"}, {"99 %", "0.99"}} {
		all = append(all, legend{name + q.percent, "histogram_quantile(" + q.fraction + ", sum by (" + group + ") (rate(" + metric + "_bucket{" + selector + "}[$__rate_interval])))"})
	}
	return all
}

// mean returns a query for the mean of a histogram.
func mean(metric string) string {
	return "sum(rate(" + metric + "_sum{" + replicas + "}[$__rate_interval])) / sum(rate(" + metric + "_count{" + replicas + "}[$__rate_interval]))"
}

// rate returns a query for the rate of a counter, by labels.
func rate(metric, selector, by string) string {
	return "sum by (" + by + ") (rate(" + metric + "{" + selector + "}[$__rate_interval]))"
}

// increase returns a query for the increase of a counter in the time that is shown.
func increase(metric, selector string) string {
	return "sum(increase(" + metric + "{" + selector + "}[$__range]))"
}

// each returns a query for a gauge of each replica.
func each(metric string) legend { return legend{"{{instance}}", metric + "{" + replicas + "}"} }

// rows are the dashboard, from what matters to the merchant to what explains it.
var rows = []row{
	{"Now", []panel{
		{title: "Replicas", text: "Replicas that Prometheus can scrape.", single: true, least: 1, queries: []legend{{"", `sum(up{` + replicas + `})`}}},
		{title: "Webhooks", text: "Requests to the endpoints.", unit: "reqps", single: true, queries: []legend{{"", `sum(rate(tollbridge_webhooks_total{` + endpoints + `}[$__rate_interval]))`}}},
		{title: "Answered 2xx", text: "Share of the requests to configured endpoints in the time shown. The others were refused, or the processor sends them again.", unit: "percentunit", single: true, least: 0.95, none: "no requests",
			queries: []legend{{"", `sum(increase(tollbridge_webhooks_total{` + endpoints + `, endpoint!="", status=~"2.."}[$__range])) / (sum(increase(tollbridge_webhooks_total{` + endpoints + `, endpoint!=""}[$__range])) > 0)`}}},
		{title: "Answered 503", text: "Requests in the time shown that processors send again.", single: true, alarm: 1, queries: []legend{{"", increase("tollbridge_webhooks_total", endpoints+`, status="503"`)}}},
		{title: "Dead letters", text: "Webhooks in the time shown with an item that could not be read: tollbridge dead list.", single: true, alarm: 1, queries: []legend{{"", increase("tollbridge_dead_letters_total", endpoints)}}},
		{title: "Disputes to answer within 3 days", text: "In live mode; the merchant loses a dispute that is not answered.", single: true, alarm: 1,
			queries: []legend{{"", `sum(max by (connector, endpoint, days_left) (tollbridge_open_disputes{` + endpoints + `, days_left=~"0|1|2"}))`}}},
	}},
	{"Webhooks", []panel{
		{title: "Responses by status", unit: "reqps", queries: []legend{{"{{status}}", rate("tollbridge_webhooks_total", endpoints, "status")}}},
		{title: "Requests by endpoint", unit: "reqps", queries: []legend{{"{{connector}}/{{endpoint}}", rate("tollbridge_webhooks_total", endpoints, "connector, endpoint")}}},
		{title: "Refusals by reason", text: "docs/operating.md explains the reasons.", unit: "reqps", queries: []legend{{"{{connector}}/{{endpoint}} {{reason}}", rate("tollbridge_webhooks_total", endpoints+`, reason!=""`, "connector, endpoint, reason")}}},
		{title: "Verified webhooks by outcome", unit: "reqps", queries: []legend{{"{{outcome}}", rate("tollbridge_webhooks_total", endpoints+`, outcome!=""`, "outcome")}}},
		{title: "Time to respond", text: "From the request's headers to the response.", unit: "s", queries: quantiles("tollbridge_webhook_duration_seconds", "connector", replicas+`, connector=~"$connector"`)},
		{title: "Time by stage", text: "receive (reading the body), verify, fetch (asking the processor's API), normalise, admit (looking up duplicates), publish (until Kafka acknowledges).", unit: "s", queries: quantiles("tollbridge_webhook_stage_duration_seconds", "stage", replicas+`, connector=~"$connector"`)},
		{title: "Bytes received", unit: "Bps", queries: []legend{{"bodies of requests", `sum(rate(tollbridge_webhook_bytes_total{` + replicas + `}[$__rate_interval]))`}}},
	}},
	{"Events", []panel{
		{title: "Events by type", unit: "cps", queries: []legend{{"{{type}}", rate("tollbridge_events_total", endpoints, "type")}}},
		{title: "Items of webhooks by result", text: "event, duplicate, elsewhere (another event type makes the event), ignored, malformed.", unit: "cps", queries: []legend{{"{{result}}", rate("tollbridge_event_types_total", endpoints, "result")}}},
		{title: "Dead letters", text: "Webhooks with an item that could not be read: tollbridge dead list.", unit: "cps", queries: []legend{{"{{connector}}/{{endpoint}}", rate("tollbridge_dead_letters_total", endpoints, "connector, endpoint")}}},
		{title: "Duplicates", text: "Events that were published before, and so not again.", unit: "cps", queries: []legend{{"{{connector}}", rate("tollbridge_state_duplicates_total", replicas+`, connector=~"$connector"`, "connector")}}},
		{title: "Corrections and late events", text: "Events published again under the merchant's id or with a further field, and events published after one with a later time.", unit: "cps", queries: []legend{
			{"corrections", `sum(rate(tollbridge_state_corrections_total{` + replicas + `}[$__rate_interval]))`},
			{"late", `sum(rate(tollbridge_state_late_total{` + replicas + `}[$__rate_interval]))`}}},
		{title: "Open disputes by days left", text: "In live mode, until respond_by.", queries: []legend{{"{{days_left}}", `sum by (days_left) (max by (connector, endpoint, days_left) (tollbridge_open_disputes{` + endpoints + `}))`}}},
	}},
	{"Endpoints", []panel{
		{title: "Time since the last request", text: "Of any replica, whatever the response.", unit: "s", queries: []legend{{"{{connector}}/{{endpoint}}", `time() - max by (connector, endpoint) (tollbridge_last_webhook_timestamp_seconds{` + endpoints + `} > 0)`}}},
		{title: "Time since the last 2xx response", text: "Of any replica.", unit: "s", queries: []legend{{"{{connector}}/{{endpoint}}", `time() - max by (connector, endpoint) (tollbridge_last_success_timestamp_seconds{` + endpoints + `} > 0)`}}},
		{title: "Time since a secret last matched", text: "A secret can be removed when the processor no longer uses it.", unit: "s", queries: []legend{{"{{connector}}/{{endpoint}} {{secret}}", `time() - max by (connector, endpoint, secret) (tollbridge_secret_matched_timestamp_seconds{` + endpoints + `} > 0)`}}},
		{title: "Requests to processors' APIs", text: "Those that a limit, a refused key or an outage kept from being sent are counted, too.", unit: "reqps", queries: []legend{{"{{connector}} {{result}}", rate("tollbridge_fetch_total", replicas+`, connector=~"$connector"`, "connector, result")}}},
		{title: "Time of processors' APIs", unit: "s", queries: quantiles("tollbridge_fetch_duration_seconds", "connector", replicas+`, connector=~"$connector"`)},
		{title: "APIs that are not asked", text: "1 while no request is sent: the keys are refused, the limit is used up, or there is no answer. Webhooks that need the API get 503.", queries: []legend{{"{{connector}}/{{endpoint}}", `max by (connector, endpoint) (tollbridge_fetch_blocked{` + endpoints + `})`}}},
		{title: "Webhooks that never came", text: "What the last run of gaps found in the processor's list and not in Kafka, for endpoints with a schedule. The processor may still deliver what is late.", queries: []legend{{"{{connector}}/{{endpoint}} {{status}}", `max by (connector, endpoint, status) (tollbridge_gaps_items{` + endpoints + `})`}}},
		{title: "Runs of gaps by result", queries: []legend{{"{{connector}}/{{endpoint}} {{result}}", `sum by (connector, endpoint, result) (increase(tollbridge_gaps_runs_total{` + endpoints + `}[$__rate_interval]))`}}},
		{title: "Time since the last complete run of gaps", text: "Of any replica.", unit: "s", queries: []legend{{"{{connector}}/{{endpoint}}", `time() - max by (connector, endpoint) (tollbridge_gaps_last_success_timestamp_seconds{` + endpoints + `} > 0)`}}},
	}},
	{"Kafka", []panel{
		{title: "Time of a produce request", unit: "s", queries: quantiles("tollbridge_kafka_request_seconds", "", replicas)},
		{title: "Records in a batch", text: "The mean.", queries: []legend{{"records", mean("tollbridge_kafka_batch_records")}}},
		{title: "Bytes of a batch", text: "The mean.", unit: "bytes", queries: []legend{{"bytes", mean("tollbridge_kafka_batch_bytes")}}},
		{title: "Bytes not acknowledged yet", unit: "bytes", queries: []legend{each("tollbridge_kafka_waiting_bytes")}},
		{title: "Retries by cause", text: "Attempts that wrote no record.", unit: "cps", queries: []legend{{"{{cause}}", rate("tollbridge_kafka_retries_total", replicas, "cause")}}},
		{title: "Refusals by cause", text: "Calls whose records were not acknowledged.", unit: "cps", queries: []legend{{"{{cause}}", rate("tollbridge_kafka_refusals_total", replicas, "cause")}}},
		{title: "Partitions with too few replicas in sync", text: "Below min.insync.replicas Kafka refuses records.", queries: []legend{
			{"below min.insync.replicas", `max(tollbridge_kafka_under_min_insync_partitions{` + replicas + `})`},
			{"under-replicated", `max(tollbridge_kafka_under_replicated_partitions{` + replicas + `})`}}},
		{title: "Records whose outcome is unknown", text: "Given up: whether Kafka wrote them will never be known.", queries: []legend{
			{"given up", `sum(increase(tollbridge_kafka_unknown_records_total{` + replicas + `}[$__rate_interval]))`},
			{"remembered", `sum(tollbridge_kafka_remembered_records{` + replicas + `})`}}},
		{title: "Throttled by Kafka", text: "Share of the time for which a client quota delayed the producer.", unit: "percentunit", queries: []legend{{"{{instance}}", rate("tollbridge_kafka_throttled_seconds_total", replicas, "instance")}}},
		{title: "Producer ids", text: "One is requested at the start, and one whenever a sequence is broken.", queries: []legend{
			{"requested", `sum(increase(tollbridge_kafka_producer_ids_total{` + replicas + `}[$__rate_interval]))`},
			{"failed: {{cause}}", `sum by (cause) (increase(tollbridge_kafka_producer_id_failures_total{` + replicas + `}[$__rate_interval]))`}}},
	}},
	{"State and replicas", []panel{
		{title: "Time since a partition was in sync", text: "Of the partition that is furthest behind. New events of partitions that are behind are refused. A replica has no line before all partitions were in sync once.", unit: "s", queries: []legend{{"{{instance}}", `tollbridge_state_stale_seconds{` + replicas + `} < Inf`}}},
		{title: "Records not read yet", text: "Of the topics, by the state store.", queries: []legend{each("tollbridge_state_lag_records")}},
		{title: "Events not in the state store yet", queries: []legend{each("tollbridge_state_unread_events")}},
		{title: "Errors in reading the topics", unit: "cps", queries: []legend{{"{{instance}}", rate("tollbridge_state_follow_errors_total", replicas, "instance")}}},
		{title: "Claims of other replicas", text: "docs/once.md explains claims.", unit: "cps", queries: []legend{
			{"lost", `sum(rate(tollbridge_claims_lost_total{` + replicas + `}[$__rate_interval]))`},
			{"taken over", `sum(rate(tollbridge_claims_taken_over_total{` + replicas + `}[$__rate_interval]))`},
			{"refused", `sum(rate(tollbridge_claims_unresolved_total{` + replicas + `}[$__rate_interval]))`},
			{"expired", `sum(rate(tollbridge_claims_expired_total{` + replicas + `}[$__rate_interval]))`}}},
		{title: "Webhooks that waited for another one", text: "Another webhook with the same event was being published.", unit: "cps", queries: []legend{{"{{instance}}", rate("tollbridge_state_waits_total", replicas, "instance")}}},
		{title: "Size of the state store", unit: "bytes", queries: []legend{each("tollbridge_state_store_bytes")}},
		{title: "Free space of the state's disk", text: "Below state_min_free, /readyz warns.", unit: "bytes", queries: []legend{
			{"{{instance}}", `tollbridge_state_disk_free_bytes{` + replicas + `} > 0`},
			{"state_min_free", `max(tollbridge_state_disk_min_free_bytes{` + replicas + `})`}}},
		{title: "State in memory", text: "1 if the state store is in memory because its disk was full or failed.", queries: []legend{each("tollbridge_state_disk_failed")}},
	}},
	{"Server", []panel{
		{title: "Webhooks in flight", queries: []legend{each("tollbridge_in_flight_webhooks")}},
		{title: "Bytes in flight", unit: "bytes", queries: []legend{each("tollbridge_in_flight_bytes")}},
		{title: "Connections", text: "Open ones, without those of trusted proxies.", queries: []legend{each("tollbridge_connections")}},
		{title: "Connections refused", text: "Closed at once: max_connections were open, or their address had used its share.", unit: "cps", queries: []legend{{"{{instance}}", rate("tollbridge_connections_refused_total", replicas, "instance")}}},
		{title: "CPU", text: "Cores in use.", queries: []legend{{"{{instance}}", rate("process_cpu_seconds_total", replicas, "instance")}}},
		{title: "Memory", unit: "bytes", queries: []legend{each("process_resident_memory_bytes")}},
		{title: "Requests to handle_event", unit: "reqps", queries: []legend{{"{{status}}", rate("tollbridge_handle_event_total", replicas+`, connector=~"$connector"`, "status")}}},
		{title: "Time of handle_event", unit: "s", queries: quantiles("tollbridge_handle_event_duration_seconds", "", replicas)},
		{title: "Configuration in use", text: "1 if the configuration that was read last is in use, 0 if it was refused.", queries: []legend{each("tollbridge_config_last_reload_successful")}},
		{title: "Configuration read again", queries: []legend{{"{{result}}", `sum by (result) (increase(tollbridge_config_reloads_total{` + replicas + `}[$__rate_interval]))`}}},
		{title: "Difference of clocks", text: "How far a replica's clock is behind Prometheus' clock; less than 0 if it is ahead. With a wrong clock, signed timestamps are refused.", unit: "s", queries: []legend{{"{{instance}}", `timestamp(tollbridge_time_seconds{` + replicas + `}) - tollbridge_time_seconds{` + replicas + `}`}}},
		{title: "Versions", queries: []legend{{"{{version}} {{revision}}", `count by (version, revision) (tollbridge_build_info{` + replicas + `})`}}},
	}},
}

// choices are the dashboard's variables; each value is the query for its values.
var choices = []struct{ name, label, values string }{
	{"job", "Job", `label_values(tollbridge_build_info, job)`},
	{"instance", "Replica", `label_values(tollbridge_build_info{job="$job"}, instance)`},
	{"connector", "Connector", `label_values(tollbridge_last_webhook_timestamp_seconds{job="$job"}, connector)`},
	{"endpoint", "Endpoint", `label_values(tollbridge_last_webhook_timestamp_seconds{job="$job", connector=~"$connector"}, endpoint)`},
}

func init() { plugins.RegisterDefaultPlugins() } // so that queries are read into their types

func datasource() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}
}

// target returns a query as Grafana has it.
func (l legend) target(id string, instant bool) *query.DataqueryBuilder {
	q := query.NewDataqueryBuilder().RefId(id).Expr(l.expression).LegendFormat(l.name)
	if instant {
		return q.Instant()
	}
	return q.Range()
}

// build returns the panel as Grafana has it.
func (p panel) build() cog.Builder[dashboard.Panel] {
	if p.single {
		steps := []dashboard.Threshold{{Color: "green"}}
		if p.alarm > 0 {
			steps = append(steps, dashboard.Threshold{Color: "red", Value: cog.ToPtr(p.alarm)})
		}
		if p.least > 0 {
			steps = []dashboard.Threshold{{Color: "red"}, {Color: "green", Value: cog.ToPtr(p.least)}}
		}
		b := stat.NewPanelBuilder().Title(p.title).Description(p.text).Unit(p.unit).Datasource(datasource()).Span(4).Height(4).
			GraphMode(common.BigValueGraphModeNone).NoValue(cmp.Or(p.none, "0")).
			Thresholds(dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps))
		if p.unit == "" {
			b.Decimals(0) // increase estimates, so that one is not exactly 1
		}
		for i, q := range p.queries {
			b.WithTarget(q.target(string(rune('A'+i)), true))
		}
		return b
	}
	b := timeseries.NewPanelBuilder().Title(p.title).Description(p.text).Unit(p.unit).Datasource(datasource()).Span(8).Height(7).AxisSoftMin(0).
		FillOpacity(5).ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	for i, q := range p.queries {
		b.WithTarget(q.target(string(rune('A'+i)), false))
	}
	return b
}

// built returns the dashboard as a file.
func built(t *testing.T) string {
	t.Helper()
	b := dashboard.NewDashboardBuilder("tollbridge").Uid("tollbridge").Tags([]string{"tollbridge", "payments", "kafka"}).
		Description("Payment webhooks in, events in Kafka out. docs/metrics.md lists the metrics, docs/operating.md explains the alerts.").
		Refresh("1m").Time("now-6h", "now").Timezone("browser").Tooltip(dashboard.DashboardCursorSyncCrosshair).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Prometheus").Type("prometheus"))
	for i, c := range choices {
		v := dashboard.NewQueryVariableBuilder(c.name).Label(c.label).Datasource(datasource()).Query(dashboard.StringOrMap{String: cog.ToPtr(c.values)}).
			Definition(c.values).Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc)
		if i > 0 {
			v.Multi(true).IncludeAll(true).AllValue(".*").Current(dashboard.VariableOption{
				Selected: cog.ToPtr(true), Text: dashboard.StringOrArrayOfString{String: cog.ToPtr("All")}, Value: dashboard.StringOrArrayOfString{String: cog.ToPtr("$__all")},
			})
		}
		b.WithVariable(v)
	}
	for _, r := range rows {
		b.WithRow(dashboard.NewRowBuilder(r.title))
		for _, p := range r.panels {
			b.WithPanel(p.build())
		}
	}
	made, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

// TestDashboard: grafana/tollbridge.json is what this file makes, and Grafana's own types
// accept it.
func TestDashboard(t *testing.T) {
	const file = "grafana/tollbridge.json"
	made := built(t)
	if *update {
		if err := os.WriteFile(file, []byte(made), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(kept) != made {
		t.Errorf("%s is not current: run make dashboard", file)
	}
	var d dashboard.Dashboard
	if err := d.UnmarshalJSONStrict(kept); err != nil && err.Error() != "" { // it returns an empty list as an error
		t.Errorf("%s: %v", file, err)
	}
	if err := d.Validate(); err != nil {
		t.Errorf("%s: %v", file, err)
	}
}

// scraped are the labels that Prometheus adds to each series, and the metrics that are not
// tollbridge's own.
var (
	scraped = []string{"job", "instance"}
	foreign = map[string][]string{"up": scraped, "process_cpu_seconds_total": scraped, "process_resident_memory_bytes": scraped}
)

// documented returns the series names that docs/metrics.md has, each with its labels, and
// the metric that each belongs to.
func documented(t *testing.T) (series map[string][]string, metricOf map[string]string) {
	t.Helper()
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	series, metricOf = maps.Clone(foreign), map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(tollbridge_\\w+)` \\| (\\w+) \\| ([^|]*) \\|").FindAllStringSubmatch(string(page), -1) {
		names := scraped
		for _, l := range strings.Fields(m[3]) {
			names = append(slices.Clip(names), strings.Trim(l, "`"))
		}
		all := map[string][]string{m[1]: names}
		if m[2] == "histogram" {
			all = map[string][]string{m[1] + "_sum": names, m[1] + "_count": names, m[1] + "_bucket": append(slices.Clip(names), "le")}
		}
		for name, labels := range all {
			series[name], metricOf[name] = labels, m[1]
		}
	}
	if len(metricOf) < 40 {
		t.Fatalf("docs/metrics.md has %d series", len(metricOf))
	}
	return series, metricOf
}

// TestDashboardQueries: Prometheus' own parser accepts every query of the dashboard; every
// metric and label in it is on a live server's /metrics, of which docs/metrics.md is made;
// legends name labels that the result has; and no metric is missing on the dashboard.
func TestDashboardQueries(t *testing.T) {
	series, metricOf := documented(t)
	file, err := os.ReadFile("grafana/tollbridge.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard.Dashboard
	if err := json.Unmarshal(file, &d); err != nil {
		t.Fatal(err)
	}
	type asked struct{ where, legend, expression string }
	var all []asked
	for _, p := range d.Panels {
		if p.Panel == nil {
			continue
		}
		if len(p.Panel.Targets) == 0 {
			t.Errorf("the panel %s has no query", *p.Panel.Title)
		}
		for _, target := range p.Panel.Targets {
			q, ok := target.(*query.Dataquery)
			if !ok {
				t.Fatalf("%s: a query is a %T", *p.Panel.Title, target)
			}
			all = append(all, asked{*p.Panel.Title, *q.LegendFormat, q.Expr})
		}
	}
	if len(all) < 50 {
		t.Fatalf("found %d queries", len(all))
	}
	values := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
	for _, v := range d.Templating.List {
		if v.Query == nil || v.Query.String == nil || v.Type != dashboard.VariableTypeQuery {
			continue
		}
		m := values.FindStringSubmatch(*v.Query.String)
		if m == nil {
			t.Fatalf("%s: cannot read %q", v.Name, *v.Query.String)
		}
		all = append(all, asked{"variable " + v.Name, "{{" + m[2] + "}}", m[1]})
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$__range", "6h", "$job", "tollbridge", "$instance", ".*", "$connector", ".*", "$endpoint", ".*")
	shown := map[string]bool{}
	for _, q := range all {
		text := variables.Replace(q.expression)
		if strings.Contains(text, "$") {
			t.Errorf("%s: an unknown variable in %s", q.where, q.expression)
		}
		e, err := parser.NewParser(parser.Options{}).ParseExpr(text)
		if err != nil {
			t.Errorf("%s: %s: %v", q.where, q.expression, err)
			continue
		}
		for _, problem := range check(e, series) {
			t.Errorf("%s: %s: %s", q.where, q.expression, problem)
		}
		has := labelsOf(e, series)
		for _, m := range regexp.MustCompile(`{{(.*?)}}`).FindAllStringSubmatch(q.legend, -1) {
			if !slices.Contains(has, m[1]) {
				t.Errorf("%s: the legend names %s, and the result of %s has only %v", q.where, m[1], q.expression, has)
			}
		}
		parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
			if v, ok := n.(*parser.VectorSelector); ok && !strings.HasPrefix(q.where, "variable ") {
				shown[metricOf[v.Name]] = true
			}
			return nil
		})
	}
	for _, metric := range metricOf {
		if !shown[metric] {
			t.Errorf("%s is on no panel", metric)
		}
	}
}

// check returns what is wrong with the metrics and labels of a query.
func check(e parser.Expr, series map[string][]string) (problems []string) {
	parser.Inspect(e, func(n parser.Node, path []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			has, known := series[n.Name]
			if !known {
				problems = append(problems, n.Name+" is on no /metrics")
			}
			for _, m := range n.LabelMatchers {
				if known && m.Name != labels.MetricName && !slices.Contains(has, m.Name) {
					problems = append(problems, n.Name+" has no label "+m.Name)
				}
			}
		case *parser.AggregateExpr:
			for _, l := range n.Grouping {
				if has := labelsOf(n.Expr, series); !slices.Contains(has, l) {
					problems = append(problems, "there is no label "+l+" to group by")
				}
			}
		}
		return nil
	})
	return problems
}

// labelsOf returns the labels of a query's result.
func labelsOf(e parser.Expr, series map[string][]string) []string {
	switch e := e.(type) {
	case *parser.VectorSelector:
		return series[e.Name]
	case *parser.MatrixSelector:
		return labelsOf(e.VectorSelector, series)
	case *parser.AggregateExpr:
		return e.Grouping
	case *parser.ParenExpr:
		return labelsOf(e.Expr, series)
	case *parser.BinaryExpr:
		if l := labelsOf(e.LHS, series); l != nil {
			return l
		}
		return labelsOf(e.RHS, series)
	case *parser.Call:
		if e.Func.Name == "time" {
			return nil
		}
		all := labelsOf(e.Args[len(e.Args)-1], series)
		if e.Func.Name == "histogram_quantile" {
			all = slices.DeleteFunc(slices.Clone(all), func(l string) bool { return l == "le" })
		}
		return all
	}
	return nil
}

// TestDashboardProvisioning: Grafana in docker-compose.yml finds the dashboard and
// Prometheus there.
func TestDashboardProvisioning(t *testing.T) {
	read := func(path string, into any) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err == nil {
			err = yaml.UnmarshalStrict(b, into)
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	var sources struct {
		APIVersion  int `json:"apiVersion"`
		Datasources []struct {
			Name, UID, Type, Access, URL string
			IsDefault                    bool
			JSONData                     struct{ TimeInterval string }
		}
	}
	read("grafana/provisioning/datasources/prometheus.yml", &sources)
	var boards struct {
		APIVersion int `json:"apiVersion"`
		Providers  []struct {
			Name, Type            string
			UpdateIntervalSeconds int
			Options               struct{ Path string }
		}
	}
	read("grafana/provisioning/dashboards/tollbridge.yml", &boards)
	var prometheus struct {
		Global        map[string]string
		RuleFiles     []string         `json:"rule_files"`
		ScrapeConfigs []map[string]any `json:"scrape_configs"`
	}
	read("prometheus/prometheus.yml", &prometheus)
	var compose struct {
		Version  string
		Services map[string]struct {
			Image    string
			Profiles []string
			Volumes  []string
			Command  any
		}
		Volumes map[string]any
	}
	text, err := os.ReadFile("../docker-compose.yml")
	if err == nil {
		err = yaml.Unmarshal(text, &compose)
	}
	if err != nil {
		t.Fatal(err)
	}
	grafana, ok := compose.Services["grafana"]
	if !ok || !slices.Equal(grafana.Profiles, []string{"observe"}) {
		t.Fatalf("docker-compose.yml has the profiles %v for grafana", grafana.Profiles)
	}
	for _, mount := range []string{"./deploy/grafana/provisioning:/etc/grafana/provisioning:ro", "./deploy/grafana:" + boards.Providers[0].Options.Path + ":ro"} {
		if !slices.Contains(grafana.Volumes, mount) {
			t.Errorf("grafana has the volumes %v, want %s", grafana.Volumes, mount)
		}
	}
	source := sources.Datasources[0]
	if source.Type != "prometheus" || !source.IsDefault || source.URL != "http://prometheus:9090" {
		t.Errorf("the data source is %+v", source)
	}
	if _, ok := compose.Services["prometheus"]; !ok {
		t.Error("docker-compose.yml has no prometheus")
	}
	if source.JSONData.TimeInterval != prometheus.Global["scrape_interval"] {
		t.Errorf("timeInterval is %s, and Prometheus scrapes every %s", source.JSONData.TimeInterval, prometheus.Global["scrape_interval"])
	}
}
