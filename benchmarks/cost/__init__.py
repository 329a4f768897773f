"""What a network costs before anybody runs it: counted on its ONNX graph, whoever wrote that."""
