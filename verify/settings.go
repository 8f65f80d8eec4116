package verify

import (
	"fmt"

	"github.com/go-json-experiment/json"
)

// named returns a setting that is a JSON object of strings; nil if it is not set.
func (k Keys) named(setting string) (given map[string]string, err error) {
	if text := k.Settings[setting]; text != "" {
		if err := json.Unmarshal([]byte(text), &given); err != nil {
			return nil, fmt.Errorf("%w: %s is not a JSON object of strings: %v", ErrSetting, setting, err)
		}
	}
	return given, nil
}

// list returns a setting that is a JSON list of strings; nil if it is not set.
func (k Keys) list(s Setting) (names []string, err error) {
	if text := k.Settings[s.Name]; text != "" {
		if err := json.Unmarshal([]byte(text), &names); err != nil {
			return nil, fmt.Errorf("%w: %s is not a JSON list of strings: %s", ErrSetting, s.Name, s.Description)
		}
	}
	return names, nil
}
