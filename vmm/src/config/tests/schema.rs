//! The JSON schema against the parser, with an evaluator of JSON Schema that shares nothing with the shape
//! check: it goes by `pattern` where the parser goes by the named format.

use regex::Regex;
use serde_json::Value;

use super::{parse, repository};
use crate::config::schema;

/// Whether `value` is valid, by those keywords of draft 2020-12 that the schema uses.
fn valid(root: &Value, schema: &Value, value: &Value) -> bool {
    schema.as_object().unwrap().iter().all(|(keyword, rule)| match keyword.as_str() {
        "$ref" => {
            let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
            valid(root, root.pointer(pointer).unwrap(), value)
        }
        "type" => {
            let is = |kind: &Value| match kind.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_i64() || value.is_u64(),
                "boolean" => value.is_boolean(),
                other => panic!("type {other}"),
            };
            rule.as_array().map_or_else(|| is(rule), |kinds| kinds.iter().any(is))
        }
        "enum" => rule.as_array().unwrap().contains(value),
        "const" => rule == value,
        "anyOf" => rule.as_array().unwrap().iter().any(|schema| valid(root, schema, value)),
        "oneOf" => rule.as_array().unwrap().iter().filter(|schema| valid(root, schema, value)).count() == 1,
        "minimum" => value.as_i64().is_none_or(|value| value >= rule.as_i64().unwrap()),
        "maximum" => value.as_i64().is_none_or(|value| value <= rule.as_i64().unwrap()),
        "pattern" => {
            value.as_str().is_none_or(|value| Regex::new(rule.as_str().unwrap()).unwrap().is_match(value))
        }
        "properties" => value.as_object().is_none_or(|object| {
            let known = rule.as_object().unwrap();
            object.iter().all(|(key, value)| known.get(key).is_none_or(|schema| valid(root, schema, value)))
        }),
        "additionalProperties" => {
            assert_eq!(rule, false);
            let known = schema["properties"].as_object().unwrap();
            value.as_object().is_none_or(|object| object.keys().all(|key| known.contains_key(key)))
        }
        "required" => value.as_object().is_none_or(|object| {
            rule.as_array().unwrap().iter().all(|key| object.contains_key(key.as_str().unwrap()))
        }),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| valid(root, rule, item))),
        "format" | "default" | "x-default" | "description" | "title" | "$schema" | "$defs" => true,
        other => panic!("the evaluator does not know `{other}`"),
    })
}

fn accepts(text: &str) -> bool {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let value: toml::Table = toml::from_str(text).unwrap();
    valid(&schema, &schema, &serde_json::to_value(value).unwrap())
}

#[test]
fn examples_are_valid() {
    for entry in std::fs::read_dir(repository().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        assert!(accepts(&std::fs::read_to_string(&path).unwrap()), "{}", path.display());
    }
}

#[test]
fn the_schema_and_the_parser_agree() {
    let cases = [
        ("", true),
        ("name = \"x\"", true),
        ("name = 1", false),
        ("nam = \"x\"", false),
        ("[machine]\nmemory = \"1G\"", true),
        ("[machine]\nmemory = \"1 GiB\"", true),
        ("[machine]\nmemory = \"1024m\"", true),
        ("[machine]\nmemory = 1073741824", true),
        ("[machine]\nmemory = \"1073741824B\"", true),
        ("[machine]\nmemory = \"1GB\"", false),
        ("[machine]\nmemory = \"1.5G\"", false),
        ("[machine]\nmemory = \"G\"", false),
        ("[machine]\nmemory = -1", false),
        ("[machine]\nmemory = true", false),
        ("[machine]\nhugepages = false", true),
        ("[machine]\nhugepages = true", false),
        ("[machine]\nhugepages = \"2M\"", true),
        ("[machine]\nhugepages = \"4K\"", false),
        ("[machine]\nrtc = \"localtime\"", true),
        ("[machine]\nrtc = \"local\"", false),
        ("[machine]\nrtc_tickpolicy = \"catchup\"", true),
        ("[machine]\nrtc_tickpolicy = \"slew\"", false),
        ("[machine]\non_crash = \"preserve\"", true),
        ("[machine]\non_crash = \"coredump-destroy\"", false),
        ("[machine]\ngrace = 3600", true),
        ("[machine]\ngrace = 3601", false),
        ("[cpu]\ncount = 0", false),
        ("[cpu]\npin = \"auto\"", true),
        ("[cpu]\npin = [0]", true),
        ("[cpu]\npin = [[0, 1023]]", true),
        ("[cpu]\ncount = 4\npin = [1, [2], \"3\", \"0-2, 5\"]", true),
        ("[cpu]\npin = \"none\"", false),
        ("[cpu]\npin = 4", false),
        ("[cpu]\npin = true", false),
        ("[cpu]\npin = { a = 1 }", false),
        ("[cpu]\npin = [true]", false),
        ("[cpu]\npin = [-1]", false),
        ("[cpu]\npin = [1024]", false),
        ("[cpu]\npin = [[1024]]", false),
        ("[cpu]\npin = [[[0]]]", false),
        ("[cpu]\npin = [[\"0\"]]", false),
        ("[cpu]\npin = [\"\"]", false),
        ("[cpu]\npin = [\"0-7:2\"]", false),
        ("[cpu]\nhalt_poll_ns = 200000", true),
        ("[cpu]\nhalt_poll_ns = 10000001", false),
        ("[cpu]\nhalt_poll_ns = \"200000\"", false),
        ("[cpu.topology]\ncores = 4", true),
        ("[cpu.topology]\ncore = 4", false),
        ("[smbios]\nchassis_type = 10", true),
        ("[smbios]\nchassis_type = \"notebook\"", true),
        ("[smbios]\nchassis_type = 37", false),
        ("[smbios]\nchassis_type = \"10\"", false),
        ("[[disk]]\npath = \"a.raw\"\naddress = \"00:04.0\"", true),
        ("[[disk]]\npath = \"a.raw\"\naddress = \"0000:01:1F.7\"", true),
        ("[[disk]]\npath = \"a.raw\"\naddress = \"0:4.0\"", true),
        ("[[disk]]\npath = \"a.raw\"\naddress = \"00:20.0\"", false),
        ("[[disk]]\npath = \"a.raw\"\naddress = \"0001:00:04.0\"", false),
        ("[[disk]]\npath = \"a.raw\"\nboot_index = -1", false),
        ("[[disk]]\npath = \"a.raw\"\nbus = \"virtio\"", true),
        ("[[disk]]\npath = \"a.raw\"\nbus = \"ide\"", false),
        ("[[disk]]", false),
        ("[disk]\npath = \"a.raw\"", false),
        ("[serial]\noutput = \"file:x\"", true),
        ("[serial]\noutput = \"file:\"", false),
        ("[serial]\noutput = \"tcp:1\"", false),
        ("[display]", true),
        ("[display]\nvnc = \"127.0.0.1:5900\"", true),
        ("[display]\nvnc = \"[::1]:5901\"", true),
        ("[display]\nvnc = \"localhost:5900\"", true),
        ("[display]\nvnc = \"unix:vnc.sock\"", true),
        ("[display]\nvnc = \"unix:\"", false),
        ("[display]\nvnc = \":0\"", false),
        ("[display]\nvnc = \"127.0.0.1:0\"", false),
        ("[display]\nvnc = \"laptop:5900\"", false),
        ("[display]\nvnc = 5900", false),
        ("[display]\nkeyboard = \"de\"", true),
        ("[display]\nkeyboard = \"us\"", true),
        ("[display]\nkeyboard = \"German\"", false),
        ("[display]\nkeyboard = 49", false),
        ("[display]\nvnc = \"0.0.0.0:5900\"\npassword_file = \"p\"", true),
        ("[display]\npasswordfile = \"p\"", false),
        ("[dgpu]\nhost = \"0000:01:00.0\"", true),
        ("[dgpu]", false),
        ("[dgpu]\nguest = \"01:00.0\"", false),
        ("[dgpu]\nvbios = \"gpu.rom\"", true),
        ("[dgpu]\nhost = \"1:0.0\"\nvbios = \"gpu.rom\"", true),
        ("[dgpu]\nvbios = 1", false),
        ("[dgpu]\nhost = \"ffff:ff:1f.7\"\nguest = \"01:00.0\"", true),
        ("[dgpu]\nhost = \"1:0.0\"\nvendor = \"10de\"\ndevice = 0x1c8d", true),
        ("[dgpu]\nhost = \"1:0.0\"\nvendor = \"0x10DE\"", true),
        ("[dgpu]\nhost = \"1:0.0\"\nvendor = \"0x\"", false),
        ("[dgpu]\nhost = \"1:0.0\"\ndevice = 0x10000", false),
        ("[dgpu]\nhost = \"1:0.0\"\nsubsystem = \"17aa:39d1\"", true),
        ("[dgpu]\nhost = \"1:0.0\"\nsubsystem = \"17aa-39d1\"", false),
        ("[dgpu]\nhost = \"1:0.0\"\nrom = \"off\"", true),
        ("[dgpu]\nhost = \"1:0.0\"\nrom = \"vbios/gpu.rom\"", true),
        ("[dgpu]\nhost = \"1:0.0\"\nrom = \"./gpu\"", true),
        ("[dgpu]\nhost = \"1:0.0\"\nrom = \"~a.rom\"", true),
        ("[dgpu]\nhost = \"1:0.0\"\nrom = \"~/gpu.rom\"", false),
        ("[dgpu]\nhost = \"1:0.0\"\nrom = \"on\"", false),
        ("[dgpu]\nhost = \"1:0.0\"\nfunctions = \"gpu\"", true),
        ("[dgpu]\nhost = \"1:0.0\"\nfunctions = \"audio\"", false),
        ("[[vfio]]\nhost = \"3:0.0\"\nroot_port = false\nmanage = true", true),
        ("[vfio]\nhost = \"3:0.0\"", false),
        ("[igpu]\nmdev = \"6f1d7a52-3c1e-4d7b-9a55-0c8e2f4b7d19\"", true),
        ("[igpu]\nparent = \"0000:00:02.0\"\ntype = \"i915-GVTg_V5_4\"", true),
        ("[igpu]\nparent = \"mbochs\"\ntype = \"mbochs-small\"", true),
        ("[igpu]\nparent = \"a/b\"\ntype = \"mbochs-small\"", false),
        ("[igpu]\nparent = \"..\"\ntype = \"mbochs-small\"", false),
        ("[igpu]\nparent = \"00:20.0\"\ntype = \"mbochs-small\"", false),
        ("[igpu]\nparent = \"mbochs\"\ntype = \"../small\"", false),
        ("[igpu]\nhost = \"0000:00:02.1\"", true),
        ("[igpu]", false),
        ("[igpu]\nresolution = \"1920x1080\"", false),
        ("[igpu]\nhost = \"0000:00:02.1\"\nmdev = \"6f1d7a52-3c1e-4d7b-9a55-0c8e2f4b7d19\"", false),
        ("[igpu]\nparent = \"mbochs\"\ntype = \"a\"\nresolution = \"640x480\"", true),
        ("[igpu]\nparent = \"mbochs\"\ntype = \"a\"\nresolution = \"3840x2400\"", true),
        ("[igpu]\nparent = \"mbochs\"\ntype = \"a\"\nresolution = \"639x480\"", false),
        ("[igpu]\nparent = \"mbochs\"\ntype = \"a\"\nresolution = \"3841x2160\"", false),
        ("[igpu]\nparent = \"mbochs\"\ntype = \"a\"\nresolution = \"1920*1080\"", false),
        ("[machine]\nvfio_backend = \"iommufd\"", true),
        ("[machine]\nvfio_backend = \"cdev\"", false),
        ("[[net]]", true),
        ("[[net]]\nmac = \"52:54:00:12:34:56\"\nforward = [\"tcp:2222->22\"]\ndns = [\"9.9.9.9\"]", true),
        ("[[net]]\nmac = \"52:54:00:12:34\"", false),
        ("[[net]]\nforward = [\"2222->22\"]", false),
        ("[[net]]\nbackend = \"slirp\"", false),
        ("[[net]]\nmtu = 500", false),
        ("[kernel]\ncmdline = \"x\"", false),
        ("[kernel]\nimage = \"vmlinuz\"", true),
    ];
    for (text, right) in cases {
        assert_eq!(accepts(text), right, "the schema on {text:?}");
        assert_eq!(parse(text).is_ok(), right, "the parser on {text:?}");
    }
}

#[test]
fn every_format_of_the_schema_is_checked() {
    fn formats(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                if let (Some(Value::String(format)), true) =
                    (object.get("format"), object.contains_key("type") || object.contains_key("enum"))
                {
                    found.push(format.clone());
                }
                object.values().for_each(|value| formats(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| formats(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    formats(&serde_json::from_str(&schema()).unwrap(), &mut found);
    found.retain(|format| !format.starts_with("uint"));
    assert!(found.len() > 20, "{found:?}");
    for format in found {
        let value = vocabulary::Scalar::Text(String::new());
        assert!(
            crate::config::reading::scalar::check_format(&format, &value).is_some(),
            "{format} is never checked"
        );
    }
}
