//! What of the templates depends on how many messages a call has, each way.

use crate::parse::Shape;

/// What a handler's method is given beside the context, and what it returns.
pub(super) struct Signature {
    parameters: Vec<String>,
    pub(super) output: String,
}

impl Signature {
    /// For a method between these two types, with `r` as the crate that generated code names.
    pub(super) fn new(r: &str, shape: Shape, input: &str, output: &str) -> Self {
        let request = format!("request: {input}");
        let inbound = format!("inbound: {r}::stream::Inbound<{input}>");
        let outbound = format!("outbound: {r}::stream::Outbound<{output}>");
        let (parameters, output) = match shape {
            Shape::Unary => (vec![request], output),
            Shape::ClientStream => (vec![inbound], output),
            Shape::ServerStream => (vec![request, outbound], "()"),
            Shape::Duplex => (vec![inbound, outbound], "()"),
        };
        Self {
            parameters,
            output: output.to_owned(),
        }
    }

    /// One line for each parameter.
    pub(super) fn parameters(&self, indent: &str) -> String {
        let lines = self.parameters.iter();
        lines.flat_map(|it| [indent, it, ",\n"]).collect()
    }
}

/// From a request to the handler's method and back, with `call` as the path of the method and `wait` behind it.
pub(super) fn served(r: &str, shape: Shape, call: &str, wait: &str) -> String {
    let (opened, handed) = match shape {
        Shape::Unary => (
            format!("(call, message) = {r}::stub::Incoming::open(request)?"),
            "message",
        ),
        Shape::ClientStream => (
            format!("(call, inbound) = {r}::stub::IncomingUpload::open(request)?"),
            "inbound",
        ),
        Shape::ServerStream => (
            format!(
                "(call, message, outbound) = {r}::stub::IncomingStream::server_stream(request).await?"
            ),
            "message, outbound",
        ),
        Shape::Duplex => (
            format!("(call, inbound, outbound) = {r}::stub::IncomingStream::duplex(request)?"),
            "inbound, outbound",
        ),
    };
    format!(
        "                        let {opened};
                        let reply = {call}(&self.0, call.context(), {handed}){wait};
                        call.close(reply)
"
    )
}

/// The client's method behind its name, with `method` as the row of the table.
pub(super) fn called(r: &str, shape: Shape, input: &str, output: &str, method: &str) -> String {
    let service = "self.service.clone()";
    let stream =
        |kind: &str| format!("{r}::stream::StreamCall<S, {r}::stream::{kind}<{input}, {output}>>");
    let (parameter, result, made) = match shape {
        Shape::Unary => (
            format!(", request: {input}"),
            format!("{r}::Call<S, {input}, {output}>"),
            format!("{r}::Call::new({service}, {method}, request)"),
        ),
        Shape::ClientStream => (
            String::new(),
            stream("ClientStream"),
            format!("{r}::stream::StreamCall::client_stream({service}, {method})"),
        ),
        Shape::ServerStream => (
            format!(", request: {input}"),
            stream("ServerStream"),
            format!("{r}::stream::StreamCall::server_stream({service}, {method}, request)"),
        ),
        Shape::Duplex => (
            String::new(),
            stream("Duplex"),
            format!("{r}::stream::StreamCall::duplex({service}, {method})"),
        ),
    };
    format!(
        "(&self{parameter}) -> {result} {{
        {made}
    }}
"
    )
}
